package runs_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/runs"
)

func BenchmarkAppendStep(b *testing.B) {
	for name, open := range map[string]func(testing.TB) runs.Log{
		"memory":    func(testing.TB) runs.Log { return runs.NewMemory() },
		"jetstream": func(tb testing.TB) runs.Log { return openJetStream(tb, tb.TempDir()) },
	} {
		b.Run(name, func(b *testing.B) {
			l := open(b)
			b.ReportAllocs()
			before := cpu(b)
			var n int
			var after uint64
			k := runs.Key{Tenant: "acme"}
			for b.Loop() {
				if n%3 == 0 { // three steps of three events, as a run with one tool call has
					k.Session, after = fmt.Sprint("ses_", n), 0
				}
				n++
				step := []agents.Event{said(after+1, "what does the customer want"), said(after+2, "a refund"), said(after+3, "then do it")}
				if err := l.Append(b.Context(), k, after, step); err != nil {
					b.Fatal(err)
				}
				after += 3
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func BenchmarkAppendStepParallel(b *testing.B) {
	l := openJetStream(b, b.TempDir())
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		k, after := runs.Key{Tenant: "acme", Session: fmt.Sprintf("ses_%p", pb)}, uint64(0)
		for pb.Next() {
			if err := l.Append(b.Context(), k, after, []agents.Event{said(after+1, "a"), said(after+2, "b"), said(after+3, "c")}); err != nil {
				b.Error(err)
				return
			}
			after += 3
		}
	})
}

func BenchmarkReadSession(b *testing.B) {
	l := openJetStream(b, b.TempDir())
	k := runs.Key{Tenant: "acme", Session: "ses_a"}
	for i := range uint64(20) {
		if err := l.Append(b.Context(), k, i, []agents.Event{said(i+1, "hello")}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range l.Read(b.Context(), k) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkRelayDelta is what one chunk costs between agent and stream.
func BenchmarkRelayDelta(b *testing.B) {
	l := runs.NewMemory()
	k := runs.Key{Tenant: "acme", Session: "ses_a"}
	ev := agents.Event{Time: time.Unix(1, 2), RunID: "run_a", SessionID: "ses_a", Source: "support", Chain: []string{"support"}, MessageID: "m1", Body: agents.TextDelta{Text: "hello "}}
	done := agents.Event{Sequence: 1, MessageID: "m1", Body: agents.Message{Role: agents.RoleAssistant}}
	var n, after uint64
	b.ReportAllocs()
	for b.Loop() {
		l.Publish(k, &ev)
		wire.Encode(&ev)
		if n++; n%100 == 0 {
			done.Sequence = after + 1
			if err := l.Append(b.Context(), k, after, []agents.Event{done}); err != nil {
				b.Fatal(err)
			}
			after++
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkRun is a whole run of three turns' worth of events with one tool call.
func BenchmarkRun(b *testing.B) {
	for name, open := range map[string]func(testing.TB) runs.Log{
		"memory":    func(testing.TB) runs.Log { return runs.NewMemory() },
		"jetstream": func(tb testing.TB) runs.Log { return openJetStream(tb, tb.TempDir()) },
	} {
		b.Run(name, func(b *testing.B) {
			d := newDesk(b, open(b), clerk(func() {}))
			ctx := ana(b)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if _, err := collect(d.start(b, ctx, "").Events(ctx)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkIdleRun tells what a run costs that waits for its model.
func BenchmarkIdleRun(b *testing.B) {
	const idle = 2000
	for b.Loop() {
		d := newDesk(b, runs.NewMemory(), blocking(nil))
		ctx, cancel := context.WithCancel(ana(b))
		var wg sync.WaitGroup
		before := heap()
		ready := make(chan struct{}, idle)
		for range idle {
			run := d.start(b, ctx, "")
			wg.Go(func() {
				for e := range run.Events(ctx) {
					if e.Live() {
						ready <- struct{}{}
					}
				}
			})
		}
		for range idle {
			<-ready
		}
		b.ReportMetric(float64(heap()-before)/idle, "B/run")
		cancel()
		wg.Wait()
	}
}

func BenchmarkOpenJetStream(b *testing.B) {
	for b.Loop() {
		l, err := runs.OpenJetStream(b.Context(), runs.JetStreamConfig{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}

// cpu is what this process has used: on a shared machine the only honest clock.
func cpu(tb testing.TB) int64 {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
