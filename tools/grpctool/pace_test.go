package grpctool_test

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/reflect/protodesc"
)

func TestPausesGrowUntilAConnectionHasLasted(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for name, c := range map[string]struct{ lasted, want []time.Duration }{
		"it restarts once":         {[]time.Duration{time.Hour}, []time.Duration{0}},
		"it hangs up at once":      {[]time.Duration{0, 0, 0, 0, 0, 0}, []time.Duration{0, 250 * ms, s, 4 * s, 10 * s, 10 * s}},
		"it hangs up after a bit":  {[]time.Duration{s, s, s, s, s, s}, []time.Duration{0, 0, 0, 3 * s, 9 * s, 9 * s}},
		"a proxy ends each":        {[]time.Duration{5 * s, 5 * s, 5 * s, 5 * s, 5 * s, 5 * s}, []time.Duration{0, 0, 0, 0, 0, 0}},
		"it keeps the last one":    {[]time.Duration{0, 0, 0, 0, 10 * s, 0, 0}, []time.Duration{0, 250 * ms, s, 4 * s, 0, 250 * ms, s}},
		"it keeps each for a time": {[]time.Duration{30 * s, 30 * s, 30 * s, 30 * s}, []time.Duration{0, 0, 0, 0}},
	} {
		if got := grpctool.Pauses(10*s, c.lasted...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// told counts who has read the descriptors of a backend.
type told struct {
	reflectionv1.ServerReflectionServer

	read chan struct{}
}

func (f *told) ServerReflectionInfo(s reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	err := f.ServerReflectionServer.ServerReflectionInfo(s)
	f.read <- struct{}{}
	return err
}

func (f *told) GetServiceInfo() map[string]grpc.ServiceInfo { return nil }

// way is one to an address, whose connections can be cut.
type way struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			all.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
			all.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); w.cut(); all.Wait() })
	return w
}

func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// hangsUp reports whether the operator reads that the backend does.
func (w *world) hangsUp() bool {
	err := w.source.Problem()
	return err != nil && strings.Contains(err.Error(), "closes each connection")
}

// TestABackendThatHangsUpIsReadAFewTimes cuts each connection when the descriptors were
// read by it. What is known stays.
func TestABackendThatHangsUpIsReadAFewTimes(t *testing.T) {
	w, log := newWorld(t), &lines{}
	linked, err := protodesc.NewFiles(w.backend.set)
	if err != nil {
		t.Fatal(err)
	}
	f := &told{read: make(chan struct{}, 100)}
	f.ServerReflectionServer = reflection.NewServerV1(reflection.ServerOptions{Services: f, DescriptorResolver: linked})
	w.backend.reflect = f
	w.backend.start(t)
	to := newWay(t, w.backend.addr)
	w.open(func(g *grpctool.Config) {
		g.Target, g.Reread, g.Refresh, g.Logger = to.Addr().String(), time.Hour, time.Hour, log.logger()
	})
	reads := 0

	w.until(func() bool {
		select {
		case <-f.read:
			reads++
			to.cut()
		default:
		}
		return reads == 10 || w.hangsUp()
	})

	if reads < 2 || reads > 8 || !w.hangsUp() {
		t.Errorf("the descriptors were read %d times, want at once when they were lost, and then with pauses", reads)
	}
	if list, err := w.source.Tools(); err != nil || len(list) == 0 {
		t.Errorf("got %d tools, %v, want those that were known", len(list), err)
	}
	w.until(func() bool { return log.count("hangs up again and again") > 0 }) // it is seen before it is told
	if n := log.count("hangs up again and again"); n != 1 {
		t.Errorf("the operator was told %d times: %q", n, log.all)
	}
}

// TestABackendThatTakesNoConnectionForLongIsLeftAlone has one that hangs up when it was
// greeted. Nothing is read of it, its descriptors are a set.
func TestABackendThatTakesNoConnectionForLongIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	svid := identitytest.Issue(t, w.ca, "/backend")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{svid.Certificate}, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	var greeted atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if greet(conn) {
				greeted.Add(1)
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	w.backend.addr = l.Addr().String()
	w.open(func(g *grpctool.Config) { g.DescriptorSet, g.Reread = everything, time.Hour })

	w.until(func() bool { return greeted.Load() > 20 || w.hangsUp() })

	if n := greeted.Load(); n > 8 || !w.hangsUp() {
		t.Errorf("%d connections were made without a pause", n)
	}
}

// greet goes as far as it is a connection for the other side.
func greet(conn net.Conn) bool {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return false
	}
	f := http2.NewFramer(conn, conn)
	if f.WriteSettings() != nil {
		return false
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return false
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && s.IsAck() {
			return true
		}
	}
}
