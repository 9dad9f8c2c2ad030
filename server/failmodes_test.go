package server_test

import (
	"bytes"
	"database/sql"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/disktest"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Somebody else holds the database's lock, as a disk holds a writer that hangs. What
// waits is refused within its deadline, a read of a tenant with a journal goes on.
func TestAStoreThatHangsIsOneThatIsAway(t *testing.T) {
	t.Parallel()
	var seen, paid atomic.Int64
	w := newWorld(t, setup{spies: []tools.Tool{look(&seen), refund(&paid)}, edit: journaling})
	b := w.as(bob)
	if err := b.use(t, "look"); err != nil {
		t.Fatal(err)
	}
	release := w.lockStore()
	began, took := time.Now(), make(chan time.Duration, 1)
	write := make(chan error, 1)
	go func() {
		err := b.use(t, "pay")
		took <- time.Since(began)
		write <- err
	}()

	read := b.use(t, "look")

	wantError(t, until(t, "the write", write), codes.Unavailable, "AUDIT_UNAVAILABLE")
	if took := <-took; took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	if read != nil || seen.Load() != 2 || paid.Load() != 0 {
		t.Errorf("got %v for the read, %d reads and %d writes", read, seen.Load(), paid.Load())
	}
	release()
	if err := b.use(t, "pay"); err != nil || paid.Load() != 1 {
		t.Errorf("got %v and %d writes when it answers again", err, paid.Load())
	}
	if v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}

// lockStore holds the database's write lock.
func (w *world) lockStore() (release func()) {
	w.t.Helper()
	db, err := sql.Open("sqlite", w.db())
	if err != nil {
		w.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		if _, err := db.Exec("ROLLBACK"); err != nil {
			w.t.Error(err)
		}
		db.Close()
	}
}

// Everything is on one disk, and that is full: store, witness, journal, run log.
func TestOnAFullDiskNothingActsAndAllGoesOnAfterwards(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	var seen, paid atomic.Int64
	w := newWorld(t, setup{spies: []tools.Tool{look(&seen), refund(&paid)}, edit: journaling, embedded: true})
	b, e := w.as(bob), w.as(erin)
	w.hello(b, "")
	mend := disktest.Fill(t, 0)

	for _, c := range []*client{b, e} {
		wantError(t, c.use(t, "pay"), codes.Unavailable, "AUDIT_UNAVAILABLE")
		wantError(t, c.use(t, "look"), codes.Unavailable, "AUDIT_UNAVAILABLE") // the journal is full as well
	}
	_, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if code, text := w.get("/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", code, text)
	}
	if seen.Load()+paid.Load() > 0 {
		t.Error("something acted without a record")
	}

	mend()
	if err := b.use(t, "pay"); err != nil || paid.Load() != 1 {
		t.Errorf("got %v and %d effects when there is room again", err, paid.Load())
	}
	w.hello(b, "")
	w.hello(e, "")
	if code, text := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("got %d %s", code, text)
	}
	if v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}

// The log of one session cannot grow any more. Its runs fail, other sessions go on.
func TestARunWhoseLogCannotBeWrittenFailsAndOthersGoOn(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	var paid atomic.Int64
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte("please pay")) {
			return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
		}
		return modeltest.Reply{Text: "hello"}
	})
	w := newWorld(t, setup{spies: []tools.Tool{refund(&paid)}, embedded: true, model: m})
	b, e := w.as(bob), w.as(erin)
	long := &behalfv1.RunAgentRequest{Agent: "support", Input: strings.Repeat("long ", 50_000)}
	for range 8 {
		r, err := b.agents().RunAgent(b.ctx(t), long)
		if err != nil {
			t.Fatal(err)
		}
		long.SessionId = r.GetSessionId()
	}
	other := w.elsewhere(e)
	mend := disktest.Fill(t, w.largestBlock())

	_, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "please pay", SessionId: long.GetSessionId()})

	wantError(t, err, codes.Unavailable, "INTERNAL")
	if paid.Load() > 0 {
		t.Error("a tool acted in a run that is in no log")
	}
	if err := b.use(t, "pay"); err != nil { // the record is not touched
		t.Error(err)
	}
	w.hello(e, other)
	mend()
	if _, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "hello", SessionId: long.GetSessionId()}); err != nil {
		t.Errorf("got %v when there is room again", err)
	}
}

// elsewhere begins a session that is not in the largest file of the run log: sessions
// share files, and one in sixteen is in the same.
func (w *world) elsewhere(c *client) (session string) {
	w.t.Helper()
	for {
		before := w.largestBlock()
		if session = w.hello(c, "").GetSessionId(); w.largestBlock() == before {
			return session
		}
	}
}

// largestBlock is the size of the largest file of the run log.
func (w *world) largestBlock() (size uint64) {
	w.t.Helper()
	err := filepath.WalkDir(w.path("state", "runs"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size = max(size, uint64(info.Size()))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return size
}

// An issuer whose keys cannot be had from the start on.
func TestAnIssuerWithoutKeysStopsItsOwnUsersOnly(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"killed": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"full":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInsufficientStorage) },
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			sendKeys(w, `{"keys":[`+strings.Repeat(" ", 300<<10)+`]}`)
		},
		"slow":         func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half written": func(w http.ResponseWriter, _ *http.Request) { sendKeys(w, `{"keys":[{"kty":"EC","kid":"k`) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			sendKeys(w, `{"keys":[]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{keys: serve})

			_, err := w.as(alice).agents().RunAgent(w.as(alice).ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello"})

			wantError(t, err, codes.Unavailable, "KEYSET_UNAVAILABLE")
			if retryAfter(err) <= 0 {
				t.Errorf("got %v, want to be told when to come back", err)
			}
			w.hello(w.as(erin), "")

			w.serveKeys(nil)
			back := make(chan struct{})
			go func() {
				defer close(back)
				for {
					a := w.as(alice)
					if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello"}); err == nil || t.Context().Err() != nil {
						return
					}
					<-time.After(100 * time.Millisecond) // no event says that the keys were fetched
				}
			}()
			until(t, "the keys", back)
		})
	}
}

func retryAfter(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func sendKeys(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(body))
}

// A model that is not there, is full, or answers without end.
func TestAModelThatIsAwayFailsTheRunAndOthersGoOn(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]modeltest.Reply{
		"full": {Status: http.StatusTooManyRequests, RetryAfter: "3600", Body: `{"error":{"message":"secret-detail"}}`},
		"down": {Status: http.StatusServiceUnavailable, RetryAfter: "3600"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := modeltest.NewServer(t)
			m.Always("scripted", reply)
			w := newWorld(t, setup{model: m})
			a := w.as(alice)

			_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "hello"})

			wantError(t, err, codes.Unavailable, "MODEL_UNAVAILABLE")
			if strings.Contains(err.Error(), "secret-detail") {
				t.Error("what the model's server said reached the client")
			}
			m.Queue("scripted", modeltest.Reply{Text: "fine"})
			if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "again"}); err != nil {
				t.Errorf("got %v when it is back", err)
			}
		})
	}
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		m := modeltest.NewServer(t)
		w := newWorld(t, setup{edit: func(c *config.Config) {
			c.Models["gone"] = config.Model{BaseURL: m.URL, Model: "scripted"}
			gone := c.Agents["support"]
			gone.Model = "gone"
			c.Agents["support"] = gone
		}})
		m.Close()
		a := w.as(alice)

		_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "hello"})

		wantError(t, err, codes.Unavailable, "MODEL_UNAVAILABLE")
		w.hello(w.as(bob), "") // triage has another model
	})
}

// Whatever is wrong with the policy folder at a reload, the old set decides until
// the folder is right again.
func TestAPolicyFolderThatIsBrokenLeavesTheOldSetInForce(t *testing.T) {
	t.Parallel()
	folder := func(w *world) string { return w.path("desk", "policies") }
	whole := `@id("closed") forbid (principal in Role::"support", action == Action::"run_agent", resource);`
	for name, spoil := range map[string]func(*testing.T, *world) (mend func() error){
		"killed": func(t *testing.T, w *world) func() error {
			if err := os.Rename(folder(w), folder(w)+".away"); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Rename(folder(w)+".away", folder(w)) }
		},
		"full": func(_ *testing.T, w *world) func() error {
			w.policy("big.cedar", strings.Repeat("// a comment\n", 100_000))
			return func() error { return os.Remove(filepath.Join(folder(w), "big.cedar")) }
		},
		"slow": func(t *testing.T, w *world) func() error {
			pipe := filepath.Join(folder(w), "pipe.cedar") // reading it would never end
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Remove(pipe) }
		},
		"half written": func(_ *testing.T, w *world) func() error {
			w.policy("closed.cedar", whole[:len(whole)/2])
			return func() error { return os.Remove(filepath.Join(folder(w), "closed.cedar")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			a, b := w.as(alice), w.as(bob)
			mend := spoil(t, w)

			_, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})

			wantError(t, err, codes.FailedPrecondition, "POLICY_ERROR")
			if strings.Contains(err.Error(), w.dir) {
				t.Errorf("got %v, want no path in it", err)
			}
			w.hello(a, "")
			if err := mend(); err != nil {
				t.Fatal(err)
			}
			w.policy("closed.cedar", whole)
			if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
				t.Fatal(err)
			}
			_, err = a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello"})
			wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
		})
	}
}
