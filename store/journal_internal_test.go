package store

import (
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
