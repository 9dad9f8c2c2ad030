package runs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// reviver opens the embedded server's files anew after one of them could not be
// written. The server gives up such a file for as long as it runs, and answers
// nobody who appends to it: a disk that was full for a moment would cost us every
// sixteenth session until the next start.
type reviver struct {
	server *server.Server
	dir    string
	failed atomic.Bool // a file was given up
	mu     sync.Mutex  // held by who revives
}

const syncEvery = time.Second

var errDisk = errors.New("the disk of the log cannot be written")

// watch hears of files that the server gives up. It says so in its log and nowhere
// else; TestAFullDiskFailsAppendsAndNothingThatWasStored fails should the words
// change.
func (r *reviver) watch() { r.server.SetLogger(ear{r}, false, false) }

// revive opens the files anew if that is due and the disk can be written again. Until
// then nothing is appended; what was stored can be read. Appends and reads that are on
// their way meanwhile fail.
func (r *reviver) revive() error {
	if !r.failed.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed.Load() {
		return nil
	}
	if err := r.probe(); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	if err := r.server.ShutdownJetStream(); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	r.failed.Store(false)
	if err := r.server.EnableJetStream(&server.JetStreamConfig{StoreDir: r.dir, SyncInterval: syncEvery}); err != nil {
		r.failed.Store(true)
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	return nil
}

// probe writes about as much as a step has.
func (r *reviver) probe() error {
	path := filepath.Join(r.dir, "probe")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}

// ear is the server's logger. It keeps nothing.
type ear struct{ r *reviver }

func (e ear) Errorf(format string, _ ...any) {
	if strings.Contains(format, "Critical write error") {
		e.r.failed.Store(true)
	}
}

func (ear) Noticef(string, ...any) {}
func (ear) Warnf(string, ...any)   {}
func (ear) Fatalf(string, ...any)  {}
func (ear) Debugf(string, ...any)  {}
func (ear) Tracef(string, ...any)  {}
