package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// Witness is where checkpoints go outside of the store: a file that is only ever
// appended to, or a stream such as stdout. One goroutine at a time.
type Witness struct {
	out  io.Writer
	file *os.File // nil for a stream
	last []byte   // the newest whole line of the file when it was opened
	torn []byte   // an unfinished line at the end of the file
}

// NewWitness writes lines to a stream that somebody else keeps.
func NewWitness(w io.Writer) *Witness { return &Witness{out: w} }

// OpenWitness opens or creates a witness file, mode 0600. It reads the newest
// line; the file is never shortened or rewritten.
func OpenWitness(path string) (*Witness, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open witness: %w", err)
	}
	w := &Witness{out: f, file: f}
	err = CheckMode(path)
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err == nil {
		w.last, w.torn, err = lastLine(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open witness: %w", err), f.Close())
	}
	return w, nil
}

// Last is the newest whole line the file held when it was opened, nil without.
func (w *Witness) Last() []byte { return w.last }

// Kept says whether the lines can be read again, so that missed ones are worth
// repeating.
func (w *Witness) Kept() bool { return w.file != nil }

// Append writes one line and makes it durable. A line that was cut off by a
// crash is finished if it is the same line; otherwise a new one is begun, and
// Verify will name the torn one.
func (w *Witness) Append(line []byte) error {
	if err := w.samePlace(); err != nil {
		return err
	}
	whole := append(bytes.Clone(line), '\n')
	rest, same := bytes.CutPrefix(whole, w.torn)
	if !same {
		rest = append([]byte{'\n'}, whole...)
	}
	n, err := w.out.Write(rest)
	if err != nil {
		w.torn = append(w.torn, rest[:n]...)
		w.torn = w.torn[bytes.LastIndexByte(w.torn, '\n')+1:]
		return fmt.Errorf("write witness: %w", err)
	}
	w.torn = nil
	if w.file == nil {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync witness: %w", err)
	}
	return nil
}

// ErrMoved is a file that was deleted or replaced: what is written to it reaches
// nobody.
var ErrMoved = errors.New("the file is not the one that was opened")

func (w *Witness) samePlace() error {
	if w.file == nil {
		return nil
	}
	own, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("write witness: %w", err)
	}
	if now, err := os.Stat(w.file.Name()); err != nil || !os.SameFile(own, now) {
		return fmt.Errorf("write witness: %w", ErrMoved)
	}
	return nil
}

// Close closes the file; a stream stays open.
func (w *Witness) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// lastLine reads a file from its end.
func lastLine(f *os.File) (last, torn []byte, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	for n := int64(1 << 16); ; n *= 4 {
		from := max(info.Size()-n, 0)
		tail := make([]byte, info.Size()-from)
		if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
		whole := bytes.LastIndexByte(tail, '\n')
		begin := bytes.LastIndexByte(tail[:max(whole, 0)], '\n') + 1
		if from > 0 && (whole < 0 || begin == 0) {
			continue // the newest line begins further ahead
		}
		if whole < 0 {
			return nil, tail, nil
		}
		return tail[begin:whole], tail[whole+1:], nil
	}
}

// Lines gives the whole lines of a witness without their line feeds. A last line
// without one was never acknowledged and is left out.
func Lines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewReaderSize(r, 1<<16)
		for {
			line, err := in.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("read lines: %w", err))
				return
			}
			if !yield(line[:len(line)-1], nil) {
				return
			}
		}
	}
}

// WitnessFile gives the lines of a witness file, opening it when ranged over.
func WitnessFile(path string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(nil, fmt.Errorf("open witness: %w", err))
			return
		}
		defer f.Close()
		for line, err := range Lines(f) {
			if !yield(line, err) {
				return
			}
		}
	}
}
