package mcptool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/internal/whole"
)

// Pin is a tool as it was accepted. It has all of it, so that who reads the file
// sees what was accepted, and so that a server that is down has its tools.
type Pin struct {
	Hash        string          `json:"hash"` // of the rest
	Accepted    time.Time       `json:"accepted"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	Input       json.RawMessage `json:"input_schema"`
	Output      json.RawMessage `json:"output_schema,omitempty"`
	Annotations json.RawMessage `json:"annotations,omitempty"`
}

// Pins keep what was accepted of the tools of each server, by the server's own
// names. They may be used by many goroutines.
type Pins interface {
	Load(server string) (map[string]Pin, error)
	// Save keeps what was accepted, beside what was before.
	Save(server string, accepted map[string]Pin) error
}

// FilePins keeps pins in a JSON file that people read, review and keep with the
// config. Nothing in it is secret: the service may run as somebody else than who
// accepts, who then has the folder too, or is root. Processes that save at once wait
// for each other, by a lock beside the file.
type FilePins struct {
	path string

	mu   sync.Mutex
	last os.FileInfo // of what was read
	all  map[string]map[string]Pin
}

// NewFilePins names the file. It need not be there.
func NewFilePins(path string) *FilePins { return &FilePins{path: path} }

const (
	maxPins = 64 << 20 // bytes of the file
	maxOf   = 4 << 20  // of one server's tools in it: no server is to take the others' room

	maxHeld = 5 * time.Second // that another process may take to save
)

// Load implements Pins. It reads the file each time: another process may have
// accepted something.
func (f *FilePins) Load(server string) (map[string]Pin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.read()
	if err != nil {
		return nil, err
	}
	if all[server] == nil {
		return map[string]Pin{}, nil
	}
	return maps.Clone(all[server]), nil
}

// Save implements Pins. What would not fit is not written: the file would be one that
// nobody reads.
func (f *FilePins) Save(server string, accepted map[string]Pin) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := whole.Lock(f.real()+"-lock", 0o644, maxHeld) // all who may accept, may lock
	if err != nil {
		return fmt.Errorf("accepted tools: %w", err)
	}
	defer unlock()
	f.all, f.last = nil, nil // what was read before the others had to wait is old
	all, err := f.read()
	if err != nil {
		return err
	}
	next, of := maps.Clone(all), maps.Clone(all[server])
	if of == nil {
		of = map[string]Pin{}
	}
	maps.Copy(of, accepted)
	next[server] = of
	part, err := json.MarshalIndent(of, "  ", "  ")
	if err != nil {
		return fmt.Errorf("write accepted tools: %w", err)
	}
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("write accepted tools: %w", err)
	}
	if len(part) > maxOf || len(text) >= maxPins {
		return fmt.Errorf("accepted tools: those of one server have at most %d bytes, and all in %s at most %d: remove some", maxOf, f.path, maxPins)
	}
	f.all, f.last = nil, nil // read it again: what follows may fail
	return f.write(append(text, '\n'))
}

// real is the file itself, where there is a link to it: it is what is looked at and
// replaced.
func (f *FilePins) real() string {
	if path, err := filepath.EvalSymlinks(f.path); err == nil {
		return path
	}
	return f.path
}

// read refuses a file that others may change: it says what models read.
func (f *FilePins) read() (map[string]map[string]Pin, error) {
	path := f.real()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]map[string]Pin{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read accepted tools: %w", err)
	}
	if !info.Mode().IsRegular() || shared(info) || info.Size() > maxPins {
		return nil, fmt.Errorf("read accepted tools: %s must be a file of at most %d bytes that only its owner may change: chmod go-w", f.path, maxPins)
	}
	if !trusted(path, info) {
		return nil, fmt.Errorf("read accepted tools: %s belongs to somebody else: it must be root's, that of who the service runs as, or of who has the folder", f.path)
	}
	if f.last != nil && os.SameFile(f.last, info) && f.last.ModTime().Equal(info.ModTime()) && f.last.Size() == info.Size() {
		return f.all, nil
	}
	all, err := f.parse()
	if err == nil {
		f.last, f.all = info, all
	}
	return all, err
}

// parse holds each tool against its hash.
func (f *FilePins) parse() (map[string]map[string]Pin, error) {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("read accepted tools: %w", err)
	}
	all := map[string]map[string]Pin{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read accepted tools: %s: %w", f.path, err)
	}
	for server, pins := range all {
		for tool, p := range pins {
			if d, err := p.definition(tool); err != nil || d.hash != p.Hash {
				return nil, fmt.Errorf("read accepted tools: %s: %q of %q is not what its hash says: remove it, and accept it again", f.path, tool, server)
			}
		}
	}
	return all, nil
}

// write replaces the file at once: half of it would be other tools.
func (f *FilePins) write(text []byte) error {
	path := f.real()
	if err := whole.Replace(path, text); err != nil {
		return fmt.Errorf("accepted tools: %w", err)
	}
	return os.Chmod(path, 0o644) //nolint:gosec // the service reads it, whoever accepts
}
