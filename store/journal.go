package store

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// JournalConfig is where rows go that cannot be written into the log.
type JournalConfig struct {
	Path string // of a file on another disk than the database, if that shall help against a full one; required
	Key  []byte // authenticates the lines; required
	Max  int64  // bytes; 0: 16 MiB. A full journal takes nothing more.
}

// JournalStats is what operators watch.
type JournalStats struct {
	Waiting map[string]int64 // rows that are not in the log yet, by tenant
	Kept    int64            // rows since the start
}

// Rows is how many rows wait, of all tenants.
func (s JournalStats) Rows() (n int64) {
	for _, rows := range s.Waiting {
		n += rows
	}
	return n
}

// Journal is a file of rows on their way into the log. A row is durable in it
// before put returns. The file is there only while rows wait.
//
// It begins with a line that names it; each further line has a number, a MAC over
// that name, the number and the bytes, and the canonical bytes of a record without
// place in a chain. So a line that was changed, moved or taken out of the middle
// shows; what was cut off the end does not.
type Journal struct {
	cfg    JournalConfig
	unlock func() // lets another process have it

	lock  chan struct{} // held by who is at the file; a channel, so that one can give up waiting
	stuck atomic.Bool   // somebody gave up; nobody waits until whoever is at the file is done
	file  *os.File      // nil: there is none
	size  int64         // of what is durable; behind it may be what a failed write left
	dirty bool          // and that has to be cut off first
	torn  int           // bytes of a line that was never acknowledged, found at the start

	mu    sync.Mutex // guards what follows
	id    string
	lines []journalLine // that wait, by number
	last  int64         // number of the newest
	lost  int64         // lines that cannot be read
	kept  int64
}

type journalLine struct {
	number int64
	tenant string
	body   []byte
}

const (
	journalMagic = "behalf audit journal 1 "
	journalMax   = 16 << 20
	journalPart  = 256 // rows that are taken over in one transaction
	// journalPatience is how long one waits for another who writes.
	journalPatience = 2 * time.Second
)

// Errors of the journal.
var (
	ErrJournalFull     = errors.New("store: the journal is full")
	errJournalReplaced = errors.New("store: the journal's file is not the one that was opened")
	errJournalHangs    = errors.New("store: the journal does not answer")
)

// OpenJournal reads what an earlier process left. It makes no file.
func OpenJournal(c JournalConfig) (*Journal, error) {
	if c.Path == "" || len(c.Key) == 0 {
		return nil, errors.New("store: a journal needs a path and a key")
	}
	set(&c.Max, journalMax)
	unlock, err := lockName(c.Path + "-lock")
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{cfg: c, lock: make(chan struct{}, 1), unlock: unlock}
	if err := j.read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		unlock()
		return nil, fmt.Errorf("journal: %w", err)
	}
	return j, nil
}

// Stats says what waits.
func (j *Journal) Stats() JournalStats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := JournalStats{Waiting: map[string]int64{}, Kept: j.kept}
	for _, l := range j.lines {
		s.Waiting[l.tenant]++
	}
	return s
}

// Close closes the file; what waits stays in it.
func (j *Journal) Close() error {
	if err := j.enter(); err != nil {
		return err
	}
	defer j.leave()
	j.unlock()
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// enter waits for the file, but not for ever: a journal that hangs is one that is
// not there.
func (j *Journal) enter() error {
	wait := journalPatience
	if j.stuck.Load() {
		wait = 0
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	select {
	case j.lock <- struct{}{}:
		return nil
	case <-over.C:
		j.stuck.Store(true)
		return errJournalHangs
	}
}

func (j *Journal) leave() {
	j.stuck.Store(false)
	<-j.lock
}

// put makes rows durable, all or none.
func (j *Journal) put(records []*audit.Record) error {
	if err := j.enter(); err != nil {
		return err
	}
	defer j.leave()
	if err := j.ready(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	lines, text := j.write(records)
	if j.size+int64(len(text)) > j.cfg.Max {
		return ErrJournalFull
	}
	if err := j.append(text); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines, j.last, j.kept = append(j.lines, lines...), j.last+int64(len(lines)), j.kept+int64(len(lines))
	return nil
}

// write makes the lines of records. They are not governed from here on.
func (j *Journal) write(records []*audit.Record) (lines []journalLine, text []byte) {
	for i, r := range records {
		own := *r
		own.Sequence, own.PreviousHash, own.Hash, own.Governed = 0, "", "", false
		l := journalLine{number: j.last + 1 + int64(i), tenant: own.Tenant, body: own.Canonical()}
		lines = append(lines, l)
		text = fmt.Appendf(text, "%d %s %s\n", l.number, j.mac(l.number, l.body), l.body)
	}
	return lines, text
}

func (j *Journal) mac(number int64, body []byte) string {
	m := hmac.New(sha256.New, j.cfg.Key)
	fmt.Fprintf(m, "%s%s\n%d\n", journalMagic, j.id, number)
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// append writes text behind what is durable. What a failed write left is cut off,
// now or before the next: it was not acknowledged.
func (j *Journal) append(text []byte) error {
	_, err := j.file.WriteAt(text, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.dirty = true
		return errors.Join(err, j.mend())
	}
	j.size += int64(len(text))
	return nil
}

func (j *Journal) mend() error {
	if !j.dirty {
		return nil
	}
	if err := errors.Join(j.file.Truncate(j.size), j.file.Sync()); err != nil {
		return err
	}
	j.dirty = false
	return nil
}

// ready has a file to append to.
func (j *Journal) ready() error {
	if j.file != nil {
		return errors.Join(j.samePlace(), j.mend())
	}
	f, err := os.OpenFile(j.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	id := rand.Text()
	head := journalMagic + id + "\n"
	_, err = f.WriteString(head)
	if err = errors.Join(err, f.Sync(), audit.SyncDir(filepath.Dir(j.cfg.Path))); err != nil {
		return errors.Join(err, f.Close(), os.Remove(j.cfg.Path))
	}
	j.file, j.size = f, int64(len(head))
	j.name(id)
	return nil
}

// samePlace refuses to write into a file that no name leads to any more.
func (j *Journal) samePlace() error {
	own, err := j.file.Stat()
	now, gone := os.Stat(j.cfg.Path)
	if err := errors.Join(err, gone); err != nil {
		return err
	}
	if !os.SameFile(own, now) {
		return errJournalReplaced
	}
	return nil
}

// name begins a file in which nothing waits.
func (j *Journal) name(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.id, j.lines, j.last, j.lost = id, nil, 0, 0
}

// state is what the writer asks before each commit.
func (j *Journal) state() (id string, waiting int, lost int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.id, len(j.lines), j.lost
}

// part gives the next lines behind a number.
func (j *Journal) part(after int64) []journalLine {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, _ := slices.BinarySearchFunc(j.lines, after+1, func(l journalLine, n int64) int { return cmp.Compare(l.number, n) })
	return j.lines[at:min(len(j.lines), at+journalPart)]
}

// took forgets lines that are in the log. With the last of them the file goes.
func (j *Journal) took(number int64) error {
	if j.forget(number) > 0 {
		return nil
	}
	if err := j.enter(); err != nil {
		return err
	}
	defer j.leave()
	if id, waiting, lost := j.state(); waiting == 0 && j.file != nil {
		return j.drop(id, lost)
	}
	return nil
}

func (j *Journal) forget(number int64) (left int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.lines) > 0 && j.lines[0].number <= number {
		j.lines = j.lines[1:]
	}
	return len(j.lines)
}

// drop ends the file; one with lines that cannot be read is put aside, as evidence.
// Should its name come back after a crash, none of its lines is taken twice.
func (j *Journal) drop(id string, lost int64) error {
	away := func() error { return os.Remove(j.cfg.Path) }
	if lost > 0 {
		away = func() error { return os.Rename(j.cfg.Path, j.cfg.Path+".damaged-"+id) }
	}
	if err := away(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := j.file.Close()
	j.file, j.dirty = nil, false
	j.name("")
	return errors.Join(err, audit.SyncDir(filepath.Dir(j.cfg.Path)))
}

// read takes in a file.
func (j *Journal) read() error {
	if err := audit.CheckMode(j.cfg.Path); err != nil {
		return err
	}
	f, err := os.OpenFile(j.cfg.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(j.cfg.Path)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file = f
	j.parse(text)
	return j.mend()
}

// parse reads lines. The last without a line feed was never acknowledged; any other
// that does not fit was, and is lost.
func (j *Journal) parse(text []byte) {
	whole := bytes.LastIndexByte(text, '\n') + 1
	j.size, j.torn = int64(whole), len(text)-whole
	j.dirty = j.torn > 0
	head, rest, _ := bytes.Cut(text[:whole], []byte("\n"))
	id, ok := strings.CutPrefix(string(head), journalMagic)
	if j.id = id; !ok || len(id) != len(rand.Text()) {
		j.id = rand.Text() // it has no name; this is what it is put aside as
		j.lost = int64(bytes.Count(text[:whole], []byte("\n")))
		return
	}
	var unread int64
	for line := range bytes.Lines(rest) {
		l, ok := j.parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if !ok || l.number <= j.last {
			unread++
			continue
		}
		j.lost += l.number - j.last - 1 // also those that are not even there
		j.lines, j.last, unread = append(j.lines, l), l.number, 0
	}
	j.lost += unread
	j.last += unread
}

func (j *Journal) parseLine(line []byte) (l journalLine, ok bool) {
	parts := bytes.SplitN(line, []byte(" "), 3)
	if len(parts) != 3 {
		return l, false
	}
	number, err := strconv.ParseInt(string(parts[0]), 10, 64)
	if err != nil || number < 1 || !hmac.Equal(parts[1], []byte(j.mac(number, parts[2]))) {
		return l, false
	}
	r, err := audit.Parse(parts[2])
	return journalLine{number: number, tenant: r.Tenant, body: bytes.Clone(parts[2])}, err == nil
}
