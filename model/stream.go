package model

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/agents"
)

// maxChunk bounds a chunk, so that a burst does not become a message that the
// client's window cannot take.
const maxChunk = 16 << 10

// stream turns lines into chunks. Deltas gather in text and thought for as long
// as the next line is already here; what gathered is yielded before anything
// waits. Only one of the two is ever filled.
type stream struct {
	lines    *lines
	coalesce bool
	deltas   int // frames that may still come
	yield    func(agents.Chunk, error) bool

	text, thought []byte
	mould         mould
	reply         assembly
}

// run yields all chunks, the last with Done. Text that came before an error is
// yielded before run returns it.
func (s *stream) run() error {
	for {
		end, err := s.step()
		if err != nil || end || !s.coalesce || s.full() || !s.lines.ready() {
			if ferr := s.flush(); ferr != nil {
				return ferr
			}
		}
		if err != nil {
			return err
		}
		if end {
			return s.finish()
		}
	}
}

func (s *stream) full() bool { return len(s.text)+len(s.thought) >= maxChunk }

// step reads one line. end says that the provider has said all.
func (s *stream) step() (end bool, err error) {
	line, err := s.lines.next()
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		return false, notAnEvent(line)
	}
	if data = bytes.TrimSpace(data); string(data) == "[DONE]" {
		return true, nil
	}
	if s.deltas--; s.deltas < 0 {
		return false, errDeltas
	}
	return false, s.frame(data)
}

func (s *stream) frame(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if len(s.thought) == 0 {
		if text, ok := s.mould.scan(data, s.text); ok {
			s.text = text
			return nil
		}
	}
	f, err := decode(data)
	if err != nil {
		return err
	}
	return s.add(f)
}

// add takes what an unusual frame says.
func (s *stream) add(f *frame) error {
	text, thought, err := s.reply.add(f)
	if err != nil {
		return err
	}
	if thought != "" {
		if err := s.turn(&s.text); err != nil {
			return err
		}
		s.thought = append(s.thought, thought...)
	}
	if text != "" {
		if err := s.turn(&s.thought); err != nil {
			return err
		}
		s.text = append(s.text, text...)
	}
	return nil
}

// turn yields what gathered in other before the kind of delta changes.
func (s *stream) turn(other *[]byte) error {
	if len(*other) == 0 {
		return nil
	}
	return s.flush()
}

// flush yields what gathered, in pieces that fit.
func (s *stream) flush() error {
	for len(s.text)+len(s.thought) > 0 {
		c := agents.Chunk{Text: cut(&s.text), Thought: cut(&s.thought)}
		if !s.yield(c, nil) {
			return errBroken
		}
	}
	return nil
}

// cut takes up to maxChunk bytes from the front, whole runes.
func cut(b *[]byte) string {
	n := len(*b)
	if n > maxChunk {
		n = maxChunk
		for n > maxChunk-utf8.UTFMax && !utf8.RuneStart((*b)[n]) {
			n--
		}
	}
	s := string((*b)[:n])
	*b = append((*b)[:0], (*b)[n:]...)
	return s
}

func (s *stream) finish() error {
	reply, err := s.reply.done()
	if err != nil {
		return err
	}
	s.yield(agents.Chunk{Done: reply}, nil) // whether or not the loop goes on, this was all
	return nil
}

// notAnEvent names a line that is no field of an event stream: the half of a
// cut one, or a server that does not stream.
func notAnEvent(line []byte) error {
	if kind := kindOf(line); kind != "" {
		return &midstream{kind}
	}
	return errNotEvents
}

// errBroken says that the consumer left its loop. It never leaves the package.
var errBroken = errors.New("the consumer left")
