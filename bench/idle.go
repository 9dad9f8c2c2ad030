package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// fewStreams and manyStreams are how many are held open to see what one costs.
const fewStreams, manyStreams = 1000, 10_000

// idleJob names the rows with n streams.
func idleJob(n int) string { return fmt.Sprintf("%d,%03d idle streams", n/1000, n%1000) }

func wantsIdle(o options) bool { return o.wants(idleJob(fewStreams)) || o.wants(idleJob(manyStreams)) }

// held is the resident set with streams open.
type held struct {
	few, many float64 // KiB that it grew by for each
	all       float64 // MiB of the process with many
}

// idle compares what open streams hold. Each round has a server and a model of
// its own, which no earlier round has left memory or ports in.
func (w *world) idle(ctx context.Context, rounds int) ([]row, error) {
	few, whyFew := room(fewStreams)
	many, whyMany := room(manyStreams)
	if few == 0 {
		return nil, fmt.Errorf("no room for open streams%s", whyFew)
	}
	got := map[string][]held{}
	for i := range rounds {
		for _, name := range []string{"floor", "memory"} {
			say("%s%s: %s, %s", idleJob(manyStreams), whyMany, turn(i+1, rounds), name)
			h, err := w.holdRound(ctx, name, holding{target: idleAgent, texts: 1, few: few, many: many})
			if err != nil {
				return nil, fmt.Errorf("%d idle streams on %s: %w", many, name, err)
			}
			got[name] = append(got[name], h)
		}
	}
	compared := func(job string, f figure, of func(held) float64) row {
		return newRow(job, f, each(got["floor"], of), each(got["memory"], of))
	}
	most := atMost(700 * float64(many) / manyStreams)
	return []row{
		compared(idleJob(fewStreams)+whyFew, figure{"memory per stream", "KiB", atMost(65), atMost(52)}, func(h held) float64 { return h.few }),
		compared(idleJob(manyStreams)+whyMany, figure{what: "memory per stream", unit: "KiB"}, func(h held) float64 { return h.many }),
		compared(idleJob(manyStreams)+whyMany, figure{what: "memory of the process", unit: "MiB", then: most}, func(h held) float64 { return h.all }),
	}, nil
}

// holding says which streams are held open.
type holding struct {
	target    string
	texts     int // that a stream has had when it is open
	few, many int
	worked    bool // before they stood still, so that most of the memory is garbage: it is given back first
}

// holdRound opens few streams, and then the others of many.
func (w *world) holdRound(ctx context.Context, name string, h holding) (held, error) {
	llm, err := spawn(ctx, "model")
	if err != nil {
		return held{}, err
	}
	defer llm.stop()
	s, err := w.start(ctx, name, llm)
	if err != nil {
		return held{}, err
	}
	defer s.stop()
	if _, err := drive(ctx, s.clients, job{name: "warming up", agent: toolAgent, callers: 64, runs: 256}); err != nil {
		return held{}, err
	}
	rest, err := s.proc.rest()
	if err != nil {
		return held{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &streams{server: s, holding: h, opening: make(chan struct{}, atOnce), ended: make(chan ended, h.many)}
	defer o.wg.Wait()
	defer cancel()
	withFew, err := o.memory(ctx, h.few)
	if err != nil {
		return held{}, err
	}
	say("%s: has %d streams, opens the others", name, h.few)
	withMany, err := o.memory(ctx, h.many)
	per := func(resident int64, n int) float64 { return float64(resident-rest.memory) / float64(n) / 1024 }
	return held{per(withFew, h.few), per(withMany, h.many), float64(withMany) / (1 << 20)}, err
}

// streams are held open until their context ends. One goroutine uses it.
type streams struct {
	*server
	holding
	n       int
	wg      sync.WaitGroup // of one goroutine for each
	opening chan struct{}  // bounds how many are not open yet
	ended   chan ended
}

// ended is how and when a stream did.
type ended struct {
	err error
	at  time.Time
}

// atOnce is how many streams are being opened at one time.
const atOnce = 128

// memory opens streams until there are n and gives the server's resident set
// when each is open and all is quiet. It fails if one ends.
func (o *streams) memory(ctx context.Context, n int) (int64, error) {
	for ; o.n < n; o.n++ {
		if err := o.place(); err != nil {
			return 0, err
		}
		cctx, conn := o.clients.caller(ctx, o.n)
		o.wg.Go(func() {
			err := o.hold(cctx, conn)
			o.ended <- ended{err, time.Now()}
		})
	}
	for range atOnce { // to have all places, all must have opened
		if err := o.place(); err != nil {
			return 0, err
		}
	}
	for range atOnce {
		<-o.opening
	}
	select {
	case <-time.After(2 * time.Second): // nobody tells when the servers are idle
		if o.worked {
			r, err := o.proc.rest()
			return r.memory, err
		}
		return o.proc.resident()
	case e := <-o.ended:
		return 0, e.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (o *streams) place() error {
	select {
	case o.opening <- struct{}{}:
		return nil
	case e := <-o.ended:
		return e.err
	}
}

// hold reads a stream until it ends; once it is open it makes place for another.
func (o *streams) hold(ctx context.Context, c *grpc.ClientConn) error {
	next, err := open(ctx, c, o.target)
	if err != nil {
		return err
	}
	for texts := 0; ; {
		ev, err := next()
		if err != nil {
			return fmt.Errorf("a stream ended: %w", err)
		}
		if ev.GetTextDelta() == nil {
			continue
		}
		if texts++; texts == o.texts {
			<-o.opening
		}
	}
}

// room is how many of n streams the machine can hold, and in words what is in
// the way of the others. The model and a server have a descriptor for each
// stream; Go has raised each process's soft limit to the hard one.
func room(n int) (fits int, why string) {
	const (
		spare     = 1000      // descriptors for all else, such as connections that the servers keep
		perStream = 256 << 10 // in the model, the server and the client together, generously
	)
	fits = n
	if files := number("/proc/self/limits", "Max open files"); files < n+n/callersPerConn+spare {
		fits = max(0, files-spare) * callersPerConn / (callersPerConn + 1)
		why = fmt.Sprintf(" (only %d fit: ulimit -Hn is %d)", fits, files)
	}
	if free := number("/proc/meminfo", "MemAvailable:") << 10; free > 0 && free/perStream < fits {
		fits = free / perStream
		why = fmt.Sprintf(" (only %d fit: %d MiB are free)", fits, free>>20)
	}
	return fits, why
}
