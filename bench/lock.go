package main

import (
	"context"
	"fmt"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// lockedStreams are open when a lock ends them all.
const lockedStreams = 1000

func lockJob(why string) string {
	return fmt.Sprintf("lock of an agent in %d,%03d open streams%s", lockedStreams/1000, lockedStreams%1000, why)
}

// stopping is what clients saw of one lock: how long after its answer, and after it
// was asked for, each stream ended with its reason.
type stopping struct{ answered, asked []time.Duration }

// locks measures from a lock to the end of what it stops.
func (w *world) locks(ctx context.Context, rounds int) ([]row, error) {
	n, why := room(lockedStreams)
	if n == 0 {
		return nil, fmt.Errorf("no room for open streams%s", why)
	}
	var got []stopping
	for i := range rounds {
		say("%s: %s", lockJob(why), turn(i+1, rounds))
		s, err := w.lockRound(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", lockJob(why), err)
		}
		got = append(got, s)
	}
	var rows []row
	add := func(what string, of func(stopping) []time.Duration) {
		for _, p := range []struct {
			name  string
			at    float64
			first target
		}{{"p50", 0.5, target{}}, {"p99", 0.99, target{}}, {"max", 1, atMost(1000)}} {
			rows = append(rows, newRow(lockJob(why), figure{what + p.name, "ms", p.first, target{}}, nil,
				each(got, func(s stopping) float64 { return ms(percentile(of(s), p.at)) })))
		}
	}
	add("answered to stopped ", func(s stopping) []time.Duration { return s.answered })
	add("asked to stopped ", func(s stopping) []time.Duration { return s.asked })
	return rows, nil
}

// lockRound has a server of its own: a lock ends all that it has open.
func (w *world) lockRound(ctx context.Context, n int) (stopping, error) {
	llm, err := spawn(ctx, "model")
	if err != nil {
		return stopping{}, err
	}
	defer llm.stop()
	s, err := w.start(ctx, "memory", llm)
	if err != nil {
		return stopping{}, err
	}
	defer s.stop()
	ctx, cancel := context.WithCancel(ctx)
	o := &streams{server: s, holding: holding{target: idleAgent, texts: 1}, opening: make(chan struct{}, atOnce), ended: make(chan ended, n)}
	defer o.wg.Wait()
	defer cancel()
	if _, err := o.memory(ctx, n); err != nil {
		return stopping{}, err
	}
	asked, answered, err := w.lock(ctx, s)
	if err != nil {
		return stopping{}, err
	}
	return o.stopped(n, asked, answered)
}

// lock locks the agent of all streams, and tells when that was asked and answered.
func (w *world) lock(ctx context.Context, s *server) (asked, answered time.Time, err error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.operator)
	conn := s.clients.conns[len(s.clients.conns)-1]
	admin := behalfv1.NewAdminServiceClient(conn)
	if _, err := admin.WhoAmI(ctx, &behalfv1.WhoAmIRequest{}); err != nil { // connects
		return asked, answered, err
	}
	asked = time.Now()
	_, err = admin.Lock(ctx, &behalfv1.LockRequest{Target: &behalfv1.LockTarget{Target: &behalfv1.LockTarget_Agent{Agent: idleAgent}}, Reason: "bench"})
	return asked, time.Now(), err
}

// stopped hears all ends. One that came before the lock was answered took no time.
func (o *streams) stopped(n int, asked, answered time.Time) (stopping, error) {
	var s stopping
	for range n {
		e := <-o.ended
		if c := status.Code(e.err); c != codes.PermissionDenied {
			return s, fmt.Errorf("a stream ended with %w, not by the lock", e.err)
		}
		s.answered, s.asked = append(s.answered, max(0, e.at.Sub(answered))), append(s.asked, e.at.Sub(asked))
	}
	return s, nil
}
