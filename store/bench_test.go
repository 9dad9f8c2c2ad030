package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// benchmarkAppend lets callers append decision and outcome of tool calls, each
// waiting until its row is durable. Each run has ten calls and ids of its own,
// every index has something to do, and checkpoints go to a witness.
func benchmarkAppend(b *testing.B, writers int, reserve ...audit.Reservation) {
	dir := b.TempDir()
	witness, err := audit.OpenWitness(filepath.Join(dir, "witness"))
	if err != nil {
		b.Fatal(err)
	}
	defer witness.Close()
	s := storetest.Start(b, store.Config{DSN: "sqlite://" + filepath.Join(dir, "behalf.db"), Witness: witness, Clock: time.Now})
	left := atomic.Int64{}
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			if err := call(b, s, &left, reserve); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-µs/row") // says more than wall time on a shared machine
}

// cpu is what the process has used so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func call(b *testing.B, s *storetest.Running, left *atomic.Int64, reserve []audit.Reservation) error {
	for run := ""; ; {
		run = "run_" + rand.Text()
		session := "ses_" + rand.Text()
		for i := range 10 {
			decision := storetest.Sample("acme", run+"/"+strconv.Itoa(i))
			decision.RunID, decision.SessionID = run, session
			for _, r := range []*audit.Record{decision, storetest.Outcome(decision)} {
				if left.Add(-1) < 0 {
					return nil
				}
				e := audit.Entry{Record: r}
				if r.Phase == audit.Decision {
					e.Reserve = reserve
				}
				if err := s.Append(e).Wait(b.Context()); err != nil {
					return err
				}
			}
		}
	}
}

func BenchmarkAppend1(b *testing.B)   { benchmarkAppend(b, 1) }
func BenchmarkAppend64(b *testing.B)  { benchmarkAppend(b, 64) }
func BenchmarkAppend512(b *testing.B) { benchmarkAppend(b, 512) }

// BenchmarkRun1 and BenchmarkRun64 have callers do all that a run with one tool
// call asks of the store: two records of the run, two of its call, its row and
// its session's in the index, and its end there.
func BenchmarkRun1(b *testing.B)  { benchmarkRun(b, 1) }
func BenchmarkRun64(b *testing.B) { benchmarkRun(b, 64) }

func benchmarkRun(b *testing.B, callers int) {
	s := storetest.Start(b, store.Config{DSN: "sqlite://" + filepath.Join(b.TempDir(), "behalf.db"), Clock: time.Now})
	left := atomic.Int64{}
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := oneRun(b.Context(), s.Store, "user-"+strconv.Itoa(n/10)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-µs/run")
}

func oneRun(ctx context.Context, s *store.Store, user string) error {
	run, session, now := "run_"+rand.Text(), "ses_"+rand.Text(), time.Now().UnixNano()
	start, call := storetest.Sample("acme", "call_"+rand.Text()), storetest.Sample("acme", run+"/4")
	start.Tool, call.RunID, call.SessionID = "", run, session
	start.RunID, start.SessionID = "", ""
	start.Action = "run_agent"
	begun := s.Append(audit.Entry{Record: start})
	o := store.Owner{Issuer: "https://idp.example", Subject: user}
	err := s.Begin(ctx, store.SessionRecord{Tenant: "acme", SessionID: session, Owner: o, Target: "support", Created: now, Updated: now, LastRun: run},
		store.RunRecord{Tenant: "acme", RunID: run, SessionID: session, Owner: o, Target: "support", Kind: "agent", State: "running", Created: now, Updated: now, Method: "/behalf.v1.AgentService/StreamAgent"}, nil, store.Room{Sessions: 1 << 30, Detached: 1 << 30})
	if err := errors.Join(err, begun.Wait(ctx), s.Append(audit.Entry{Record: call}).Wait(ctx)); err != nil {
		return err
	}
	called := s.Append(audit.Entry{Record: storetest.Outcome(call)})
	err = s.UpdateRunState(ctx, "acme", run, "finished", "completed")
	ended := s.Append(audit.Entry{Record: storetest.Outcome(start)})
	return errors.Join(err, called.Wait(ctx), ended.Wait(ctx))
}

// BenchmarkReserve64 has every decision take from two buckets.
func BenchmarkReserve64(b *testing.B) {
	benchmarkAppend(b, 64,
		audit.Reservation{Bucket: "mail-rate/alice", Cost: 1, Limit: 1 << 40, Window: time.Minute},
		audit.Reservation{Bucket: "tokens/alice", Cost: 900, Limit: 1 << 40, Window: 24 * time.Hour})
}

func BenchmarkQuery(b *testing.B) {
	path := filepath.Join(b.TempDir(), "behalf.db")
	s := fill(b, store.Config{DSN: "sqlite://" + path}, 2000)
	b.ResetTimer()
	n := 0
	for b.Loop() {
		for _, err := range s.Query(b.Context(), audit.Filter{Tenant: "acme", Tool: "refund_order"}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
