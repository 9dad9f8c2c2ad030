package storetest

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/memory"
	"github.com/behalf-dev/behalf/store"
	"github.com/google/go-cmp/cmp"
)

var (
	memoryAlice = memory.Owner{Tenant: "acme", Issuer: "https://idp.example", Subject: "alice"}
	// strangers are near to her, each in another way.
	strangers = map[string]memory.Owner{
		"another tenant":         {Tenant: "globex", Issuer: "https://idp.example", Subject: "alice"},
		"another issuer":         {Tenant: "acme", Issuer: "https://partner.example", Subject: "alice"},
		"another person":         {Tenant: "acme", Issuer: "https://idp.example", Subject: "bob"},
		"a workload alone":       {Tenant: "acme", Subject: "spiffe://acme/app"},
		"a workload of her name": {Tenant: "acme", Subject: "alice"},
		"nobody":                 {},
	}
)

func everything(o memory.Owner) memory.Which { return memory.Which{Owner: o, All: true} }

// remember keeps a text that must fit.
func remember(t *testing.T, s memory.Store, o memory.Owner, session, text string) memory.Item {
	t.Helper()
	item, err := s.Remember(t.Context(), o, session, text)
	must(t, err)
	return item
}

// texts are what is meant, newest first.
func texts(t *testing.T, s memory.Store, w memory.Which) (out []string) {
	t.Helper()
	items, err := s.Memories(t.Context(), w, "", 5000)
	must(t, err)
	for _, item := range items {
		out = append(out, item.Text)
	}
	return out
}

func wantTexts(t *testing.T, s memory.Store, w memory.Which, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, texts(t, s, w)); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

func openSession(t *testing.T, s *Running, tenant, id string) {
	t.Helper()
	must(t, s.PutSession(t.Context(), store.SessionRecord{Tenant: tenant, SessionID: id, Target: "support"}))
}

func memoriesAreTheirOwnersAlone(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	for _, tenant := range []string{"acme", "globex"} {
		openSession(t, s, tenant, "ses_1")
	}
	hers := remember(t, s, memoryAlice, "", "alice likes tea")
	remember(t, s, memoryAlice, "ses_1", "alice wrote about a jug")

	for name, who := range strangers {
		t.Run(name, func(t *testing.T) {
			for _, w := range []memory.Which{everything(who), {Owner: who, Person: true, Session: "ses_1"}} {
				wantTexts(t, s, w)
				if n, err := s.ForgetAll(t.Context(), w); n != 0 || err != nil {
					t.Errorf("got %d erased, %v, want nothing", n, err)
				}
			}
			if was, err := s.Forget(t.Context(), who, hers.ID); was || err != nil {
				t.Errorf("got %t, %v of another person's id, want that there is none", was, err)
			}
			if _, err := s.Memories(t.Context(), everything(who), hers.ID, 9); !errors.Is(err, fault.NotFound) {
				t.Errorf("got %v for another person's id, want NOT_FOUND", err)
			}
			if who.Tenant != "" { // their own is theirs
				remember(t, s, who, "", "alice likes tea")
				wantTexts(t, s, everything(who), "alice likes tea")
			}
		})
	}
	wantTexts(t, s, everything(memoryAlice), "alice wrote about a jug", "alice likes tea")
	wantTexts(t, s, memory.Which{Owner: memoryAlice})
	s.Stop()

	s = Start(t, store.Config{DSN: dsn}) // still there
	wantTexts(t, s, everything(memoryAlice), "alice wrote about a jug", "alice likes tea")
}

func memoriesAreNewestFirst(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	openSession(t, s, "acme", "ses_1")
	openSession(t, s, "acme", "ses_2")
	first := remember(t, s, memoryAlice, "", "one")
	remember(t, s, memoryAlice, "ses_1", "two")
	remember(t, s, memoryAlice, "ses_2", "three")
	remember(t, s, memoryAlice, "", "four")

	again := remember(t, s, memoryAlice, "", "one")

	if again.ID != first.ID || !strings.HasPrefix(first.ID, "mem_") {
		t.Errorf("got %s and %s, want the same item", first.ID, again.ID)
	}
	wantTexts(t, s, everything(memoryAlice), "one", "four", "three", "two")
	wantTexts(t, s, memory.Which{Owner: memoryAlice, Person: true}, "one", "four")
	wantTexts(t, s, memory.Which{Owner: memoryAlice, Session: "ses_1"}, "two")
	wantTexts(t, s, memory.Which{Owner: memoryAlice, Person: true, Session: "ses_2"}, "one", "four", "three")
	page, err := s.Memories(t.Context(), everything(memoryAlice), "", 2)
	must(t, err)
	rest, err := s.Memories(t.Context(), everything(memoryAlice), page[1].ID, 2)
	must(t, err)
	if len(page) != 2 || len(rest) != 2 || rest[0].Text != "three" || rest[0].SessionID != "ses_2" || !rest[0].Created.Equal(s.Clock.Now()) {
		t.Errorf("got %+v and then %+v, want two pages", page, rest)
	}
	if was, err := s.Forget(t.Context(), memoryAlice, first.ID); !was || err != nil {
		t.Errorf("got %t, %v, want it erased", was, err)
	}
	if n, err := s.ForgetAll(t.Context(), memory.Which{Owner: memoryAlice, Session: "ses_1"}); n != 1 || err != nil {
		t.Errorf("got %d, %v, want one erased", n, err)
	}
	wantTexts(t, s, everything(memoryAlice), "four", "three")
}

// fill stores texts that nobody waits for one by one.
func fill(t *testing.T, s *Running, session string, from, to int) {
	t.Helper()
	must(t, s.Do(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2)
			INSERT INTO memories (id, tenant, issuer, subject, session, created, digest, text)
			SELECT 'mem_' || i, $3, $4, $5, $6, 0, CAST(i AS BLOB), 'text ' || i FROM n`,
			from, to, memoryAlice.Tenant, memoryAlice.Issuer, memoryAlice.Subject, session)
		return err
	}))
}

func aFullMemoryIsAnError(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	openSession(t, s, "acme", "ses_1")
	full := func(session string, inSession bool) {
		t.Helper()
		_, err := s.Remember(t.Context(), memoryAlice, session, "one more")
		if f, ok := errors.AsType[*memory.FullError](err); !ok || f.Session != inSession || !strings.Contains(f.Error(), "forget what is not needed") {
			t.Errorf("got %v, want that it is full and what to do", err)
		}
	}
	fill(t, s, "ses_1", 0, memory.MaxPerSession)
	full("ses_1", true)
	known := remember(t, s, memoryAlice, "", "known")
	fill(t, s, "", memory.MaxPerSession+1, memory.MaxItems)
	full("", false)

	if all := texts(t, s, everything(memoryAlice)); len(all) != memory.MaxItems || all[memory.MaxItems-1] != "text 0" {
		t.Errorf("got %d texts, want none dropped", len(all))
	}
	if again := remember(t, s, memoryAlice, "", "known"); again.ID != known.ID {
		t.Errorf("got %s, want what is there to be no more", again.ID)
	}
	remember(t, s, strangers["another person"], "", "bob has room")
	if n, err := s.ForgetAll(t.Context(), memory.Which{Owner: memoryAlice, Session: "ses_1"}); n != memory.MaxPerSession || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	remember(t, s, memoryAlice, "ses_1", "there is room again")
}

func aDeletedSessionIsForgotten(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	bob := strangers["another person"]
	for _, at := range [][2]string{{"acme", "ses_1"}, {"acme", "ses_2"}, {"globex", "ses_1"}} {
		openSession(t, s, at[0], at[1])
	}
	for _, session := range []string{"", "ses_1", "ses_2"} {
		remember(t, s, memoryAlice, session, "alice in "+session)
	}
	remember(t, s, bob, "ses_1", "bob in ses_1")
	remember(t, s, strangers["another tenant"], "ses_1", "elsewhere")

	must(t, s.DeleteSession(t.Context(), "acme", "ses_1"))

	wantTexts(t, s, everything(memoryAlice), "alice in ses_2", "alice in ")
	wantTexts(t, s, everything(bob))
	wantTexts(t, s, everything(strangers["another tenant"]), "elsewhere")
	for _, session := range []string{"ses_1", "ses_9"} {
		if _, err := s.Remember(t.Context(), memoryAlice, session, "too late"); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want NOT_FOUND", session, err)
		}
	}
	if err := s.DeleteSession(t.Context(), "acme", "ses_1"); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v the second time, want NOT_FOUND", err)
	}
}

func whatIsForgottenIsOverwritten(t *testing.T, dsn string) {
	path, isFile := strings.CutPrefix(dsn, "sqlite://")
	if !isFile {
		t.Skip("the file is somebody else's")
	}
	s := Start(t, store.Config{DSN: dsn})
	openSession(t, s, "acme", "ses_1")
	short, long := "a secret of few words", strings.Repeat("a long secret; ", 270)
	for _, text := range []string{short, long} {
		remember(t, s, memoryAlice, "", text)
		remember(t, s, memoryAlice, "ses_1", text)
	}
	remember(t, s, memoryAlice, "", "this one stays")
	must(t, s.DeleteSession(t.Context(), "acme", "ses_1"))
	items, err := s.Memories(t.Context(), memory.Which{Owner: memoryAlice, Person: true}, "", 9)
	must(t, err)
	for _, item := range slices.Backward(items[1:]) {
		if _, err := s.Forget(t.Context(), memoryAlice, item.ID); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()

	file, err := os.ReadFile(path)
	must(t, err)
	for _, text := range []string{short, "a long secret"} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("%q is still in the file", text)
		}
	}
	if !bytes.Contains(file, []byte("this one stays")) {
		t.Error("what was kept is not in the file: this test looks at the wrong one")
	}
}
