package engine

import (
	"fmt"
	"io/fs"
	"os"
	"time"
)

// regular is a folder of which only files and folders are opened: to read a pipe or
// a device may never end.
type regular struct{ fs.FS }

func (r regular) Open(name string) (fs.File, error) {
	info, err := fs.Stat(r.FS, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return r.FS.Open(name)
}

func (r regular) Stat(name string) (fs.FileInfo, error) { return fs.Stat(r.FS, name) }

// Files is where policies are read from.
func (c Config) Files() fs.FS {
	if c.FS == nil {
		return regular{os.DirFS(c.Dir)}
	}
	return c.FS
}

// MaxWait is how long a folder may take to be read. A file system that hangs cannot
// be interrupted, only left alone.
const MaxWait = 15 * time.Second

// InTime gives up on publish when the folder does not answer. The goroutine ends when
// it does, and what it found is of no interest then.
func (c Config) InTime(publish func() (*Set, error)) (*Set, error) {
	type answer struct {
		set *Set
		err error
	}
	done := make(chan answer, 1)
	go func() {
		set, err := publish()
		done <- answer{set, err}
	}()
	over := time.NewTimer(MaxWait)
	defer over.Stop()
	select {
	case a := <-done:
		return a.set, a.err
	case <-over.C:
		return nil, &Problem{File: c.Dir, Inside: ".", Line: 1, Column: 1, Text: fmt.Sprintf("cannot be read: it does not answer within %v", MaxWait)}
	}
}
