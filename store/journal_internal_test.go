package store

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// A disk that hangs holds whoever is at the file; those behind give up, and the
// writer never waits for it.
func TestAJournalThatHangsIsOneThatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		j, err := OpenJournal(JournalConfig{Path: path, Key: []byte("key")})
		if err != nil {
			t.Fatal(err)
		}
		rows := []*audit.Record{{Tenant: "acme"}}
		if err := j.put(rows); err != nil {
			t.Fatal(err)
		}
		j.lock <- struct{}{} // as put holds it while the disk does not answer

		began := time.Now()
		for range 3 {
			if err := j.put(rows); !errors.Is(err, errJournalHangs) {
				t.Errorf("got %v, want that it hangs", err)
			}
		}
		_, waiting, _ := j.state()
		if took := time.Since(began); took != journalPatience || waiting != 1 || len(j.part(0)) != 1 || j.Stats().Rows() != 1 {
			t.Errorf("it took %v, %d rows wait", took, waiting)
		}

		j.leave()
		if err := j.put(rows); err != nil || j.Stats().Rows() != 2 {
			t.Errorf("got %v when it answers again", err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Read as a journal, any change of its bytes gives none but the lines that were
// written with the key, each once, in order and unchanged; and what is missing counts.
func TestNoByteOfAJournalCanBeChangedUnseen(t *testing.T) {
	j := &Journal{cfg: JournalConfig{Key: []byte("key")}, id: "AAAAAAAAAAAAAAAAAAAAAAAAAA"}
	lines, text := j.write([]*audit.Record{{Tenant: "acme", Tool: "a"}, {Tenant: "globex", Tool: "b"}, {Tenant: "acme", Tool: "c"}})
	whole := append([]byte(journalMagic+j.id+"\n"), text...)
	read := func(text []byte) *Journal {
		got := &Journal{cfg: j.cfg}
		got.parse(text)
		var last int64
		for _, l := range got.lines {
			if l.number <= last || !bytes.Equal(l.body, lines[l.number-1].body) {
				t.Fatalf("took line %d: %s", l.number, l.body)
			}
			last = l.number
		}
		if got.size+int64(got.torn) != int64(len(text)) {
			t.Fatalf("size %d and torn %d of %d", got.size, got.torn, len(text))
		}
		return got
	}
	if got := read(whole); len(got.lines) != 3 || got.lost != 0 || got.torn != 0 {
		t.Fatalf("got %+v of the whole", got)
	}
	for at := range whole {
		for _, x := range []byte{1, 0x80} {
			bad := bytes.Clone(whole)
			bad[at] ^= x
			if got := read(bad); got.lost == 0 && got.torn == 0 {
				t.Fatalf("byte %d: not noticed", at)
			}
		}
		if got := read(whole[:at]); got.lost != 0 && at >= len(journalMagic)+27 {
			t.Fatalf("cut at %d: %d lines count as lost, but none was whole", at, got.lost)
		}
	}
	read(append(bytes.Clone(whole), text...)) // all of it twice
}
