package behalf

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/policytest"
)

// TestWhatIsPutInForceIsNeverHeldAgainstThePoliciesFromBefore looks while new policies
// are held against what is open, which is when they decide already: nobody may see the
// rest of the snapshot sooner.
func TestWhatIsPutInForceIsNeverHeldAgainstThePoliciesFromBefore(t *testing.T) {
	t.Parallel()
	s := &Server{opt: options{log: slog.New(slog.DiscardHandler)}, backends: newBackends()}
	t.Cleanup(s.backends.close)
	s.inForce.Store(&snapshot{})
	var seen *snapshot
	var err error
	s.guard, err = policy.NewGuard(policy.GuardConfig{
		Sink: audit.NewMemory(time.Now), DigestKey: func(string) []byte { return []byte("k") },
		Trusts: func(identity.Principal) error { seen = s.current(); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	made := func(id string) *snapshot {
		return &snapshot{Server: s, set: policytest.LoadFiles(t, map[string]string{"p.cedar": `@id("` + id + `") permit (principal, action, resource);`})}
	}
	before, next := made("before"), made("next")
	s.putInForce(t.Context(), before)
	p := policytest.Person("acme", "alice")
	p.User.Expires = time.Now().Add(time.Hour)
	q := &policy.Query{Grant: identity.Root("grt_1", p, nil, ""), Action: "run_agent", Resource: policy.Entity{Type: "Agent", ID: "support"}}
	_, release, err := s.guard.Hold(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	seen = nil

	s.putInForce(t.Context(), next)

	if seen != before {
		t.Error("the new policies did not decide before the rest could be seen")
	}
	if s.current() != next || s.guard.Revision() != next.set.Revision() {
		t.Error("it is not in force")
	}
}

// lasting is a source that runs until it is stopped.
type lasting struct {
	source
	over     chan struct{}
	replaced *atomic.Bool
}

func (l lasting) Retire() { l.replaced.Store(true) }

func (l lasting) Run(ctx context.Context) error {
	<-ctx.Done()
	close(l.over)
	return nil
}

func (lasting) Changed() <-chan struct{} { return nil }

func (l lasting) stopped() bool {
	synctest.Wait()
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

func TestARetiredSourceStopsWhenTheCallsThatBeganHaveEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackends()
		begin := func() lasting { return lasting{over: make(chan struct{}), replaced: &atomic.Bool{}} }
		old, kept := begin(), begin()
		was := &snapshot{sources: map[string]*running{"old": {source: old}, "kept": {source: kept}}}
		for _, r := range was.sources {
			b.run(r)
		}
		now := &snapshot{sources: map[string]*running{"kept": was.sources["kept"]}}

		b.retire(now.gone(was))

		if !old.replaced.Load() || kept.replaced.Load() {
			t.Error("only the old one must know that it was replaced")
		}
		<-time.After(time.Minute) // the longest that a gate lets a call take
		if old.stopped() {
			t.Error("calls that began were cut")
		}
		<-time.After(10 * time.Second)
		if !old.stopped() || kept.stopped() {
			t.Errorf("stopped the old one: %v, and the one that was kept: %v; want only the old one", old.stopped(), kept.stopped())
		}
		b.close()
		if !kept.stopped() {
			t.Error("it outlives the server")
		}
	})
}

func TestOnlyASourceWhoseSectionIsTheSameIsKept(t *testing.T) {
	t.Parallel()
	section := func(url string) config.Toolset { return config.Toolset{MCP: &config.MCP{URL: url}} }
	file := filepath.Join(t.TempDir(), "methods.binpb")
	described := config.Toolset{GRPC: &config.GRPC{DescriptorSet: file}}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("as it was")
	files, err := filesOf(described)
	if err != nil {
		t.Fatal(err)
	}
	runs := &running{section: section("https://one.example"), cancel: func() {}}
	from := &snapshot{sources: map[string]*running{
		"same": runs, "changed": runs, "gone": runs, "only looked at": {section: section("https://one.example")},
		"described otherwise": {section: described, files: files, cancel: func() {}},
	}}
	sn := &snapshot{cfg: &config.Config{Tools: map[string]config.Toolset{
		"same": section("https://one.example"), "changed": section("https://two.example"), "only looked at": section("https://one.example"),
		"described otherwise": described,
	}}}
	write("as it is")

	if err := sn.keep(from); err != nil {
		t.Fatal(err)
	}

	if len(sn.sources) != 1 || sn.sources["same"] != runs {
		t.Errorf("got %v, want the one that runs for the same section", sn.sources)
	}
}
