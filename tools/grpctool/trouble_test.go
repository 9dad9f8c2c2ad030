package grpctool_test

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// TestTheOperatorLearnsWhyABackendIsNotThere looks at what a newcomer gets wrong.
func TestTheOperatorLearnsWhyABackendIsNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*world) func(*grpctool.Config)
		want    []string
	}{
		"it does not run": {func(w *world) func(*grpctool.Config) {
			w.backend.addr = "127.0.0.1:1"
			return nil
		}, []string{"connection refused", "start it, or mend target"}},
		"it is somebody else": {func(w *world) func(*grpctool.Config) {
			w.backend.start(w.t)
			other, err := identity.ClientTLS(identity.ClientConfig{Source: w.own, Servers: []string{"spiffe://" + w.ca.TrustDomain() + "/crm"}})
			if err != nil {
				w.t.Fatal(err)
			}
			return func(g *grpctool.Config) { g.TLS = other }
		}, []string{"/backend, which is not expected here", "mend server_id"}},
		"it has no server_id": {func(w *world) func(*grpctool.Config) {
			w.backend.start(w.t)
			return func(g *grpctool.Config) { g.TLS = &tls.Config{MinVersion: tls.VersionTLS13} }
		}, []string{"x509: ", "say server_id"}},
		"it speaks no TLS": {func(w *world) func(*grpctool.Config) {
			w.backend.addr = plainServer(w.t, "127.0.0.1:0")
			return nil
		}, []string{"does not look like a TLS handshake", "speaks no TLS"}},
		"it refuses reflection": {func(w *world) func(*grpctool.Config) {
			w.backend.closed = true
			w.backend.start(w.t)
			return nil
		}, []string{"Unauthenticated", "ServerOptions", "descriptor_set"}},
		"it has no such service": {func(w *world) func(*grpctool.Config) {
			w.backend.start(w.t)
			return func(g *grpctool.Config) { g.Services = []string{"everything.v1.Nothing"} }
		}, []string{"everything.v1.Nothing", "mend services"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, log := newWorld(t), &lines{}
			edit, met := c.prepare(w), atomic.Int64{}
			w.open(func(g *grpctool.Config) {
				g.Logger, g.Refresh = log.logger(), time.Millisecond
				g.Now = func() time.Time { met.Add(1); return time.Now() }
				if edit != nil {
					edit(g)
				}
			})
			w.until(func() bool { return log.has("a tool backend") })

			problem := w.source.Problem()

			for _, part := range c.want {
				if !log.has(part) || problem == nil || !strings.Contains(problem.Error(), part) {
					t.Errorf("got %v and the log %q, want %q in both", problem, log.all, part)
				}
			}
			if !log.has("target="+w.backend.addr) || !errors.Is(problem, grpctool.ErrNotRead) {
				t.Errorf("got %v and the log %q, want the target in it", problem, log.all)
			}
			w.until(func() bool { return met.Load() > 3 })
			if n := log.count("level=WARN"); n != 1 {
				t.Errorf("one cause was told %d times: %q", n, log.all)
			}
		})
	}
}

// plainServer is a gRPC server without TLS.
func plainServer(t testing.TB, at string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	srv, done := grpc.NewServer(), make(chan error, 1)
	go func() { done <- srv.Serve(l) }() // ends with the test
	t.Cleanup(func() { srv.Stop(); <-done })
	return l.Addr().String()
}

func TestACallSaysToTheOperatorWhyItsBackendIsNotThere(t *testing.T) {
	w, log := newWorld(t), &lines{}
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { g.Logger = log.logger() })
	w.reading("")
	w.backend.stop()
	w.until(func() bool { return log.has("cannot be reached") })

	fin := w.call("echo", `{}`)

	if fin.Reason != string(fault.ToolUnavailable) || strings.Contains(fin.Result, "refused") || strings.Contains(fin.Result, w.backend.addr) {
		t.Errorf("got %s, want no cause in it", fin.Result)
	}
	if !w.told.has("connection refused") {
		t.Errorf("the operator reads no cause: %q", w.told.all)
	}
	w.backend.start(t)
	w.until(func() bool { return log.has("is there again") })
	if n := log.count(`level=WARN msg="a tool backend is there again"`); n != 1 {
		t.Errorf("got %q, want the end told as loudly as the trouble", log.all)
	}
}

// A source that was replaced, because its section changed, goes on for the sake of the
// calls that began. What it meets there is no news about the backend any more.
func TestASourceThatWasReplacedSaysNothingAndServesItsCalls(t *testing.T) {
	w, log := newWorld(t), &lines{}
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { readOnly(g); g.Logger, g.Refresh = log.logger(), time.Millisecond })
	w.reading("")
	told := log.count("level=")

	w.source.Retire()

	if fin := w.call("echo", `{}`); fin.Failed {
		t.Errorf("got %s, want its calls to go on", fin.Result)
	}
	w.backend.stop()
	silent := &refusing{code: codes.Unimplemented} // for its operator gave a descriptor set
	w.backend.reflect = silent
	w.backend.start(t)
	w.until(func() bool { return silent.asked.Load() > 2 })
	if log.count("level=") != told {
		t.Errorf("got %q, want nothing more said", log.all)
	}
}

func TestTheOperatorIsWarnedOfWhatIsLeftOut(t *testing.T) {
	for name, set := range map[string]bool{"by reflection": false, "by a descriptor set": true} {
		t.Run(name, func(t *testing.T) {
			w, log := newWorld(t), &lines{}
			w.backend.start(t)
			w.open(func(g *grpctool.Config) {
				g.Logger, g.Refresh = log.logger(), time.Millisecond
				if set {
					g.DescriptorSet = everything
				}
			})
			const note = `level=WARN msg="a note about a tool backend" toolset=everything note="left out: method everything.v1.EverythingService.TakeStruct:`

			w.until(func() bool { return log.has(note) && w.source.Problem() == nil })

			conns := w.backend.conns.Load()
			w.backend.stop()
			w.backend.start(t)
			w.until(func() bool { return w.backend.conns.Load() > conns && w.source.Problem() == nil })
			if n := log.count(note); n != 1 {
				t.Errorf("it was told %d times: %q", n, log.all)
			}
		})
	}
}

func TestAnotherCauseIsTold(t *testing.T) {
	w, log := newWorld(t), &lines{}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.backend.addr = l.Addr().String()
	_ = l.Close() // nobody listens there
	w.open(func(g *grpctool.Config) { g.Logger, g.Refresh = log.logger(), time.Millisecond })
	w.until(func() bool { return log.has("connection refused") })

	plainServer(t, w.backend.addr)

	w.until(func() bool { return log.has("does not look like a TLS handshake") })
}
