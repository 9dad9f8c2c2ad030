package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"golang.org/x/sync/errgroup"
)

// job is one row: what is asked, by how many at once, how often.
type job struct {
	name    string
	agent   string
	callers int
	runs    int // in all
}

// sample is what the client saw of one job.
type sample struct {
	runs   int
	chunks int
	wall   time.Duration
	first  []time.Duration // until the first chunk, per run
	whole  []time.Duration // per run
	gaps   []time.Duration // between chunks
}

func (s *sample) add(o *sample) {
	s.runs += o.runs
	s.chunks += o.chunks
	s.first, s.whole, s.gaps = append(s.first, o.first...), append(s.whole, o.whole...), append(s.gaps, o.gaps...)
}

// drive runs the job against one server.
func drive(ctx context.Context, c *clients, j job) (*sample, error) {
	var mu sync.Mutex
	all := &sample{}
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for n := range j.callers {
		g.Go(func() error {
			mine := &sample{}
			ctx, client := c.caller(ctx, n)
			for i := n; i < j.runs; i += j.callers {
				if err := once(ctx, client, j.agent, mine); err != nil {
					return fmt.Errorf("%s, run %d: %w", j.name, i, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(mine)
			return nil
		})
	}
	err := g.Wait()
	all.wall = time.Since(start)
	return all, err
}

func once(ctx context.Context, c behalfv1.AgentServiceClient, agent string, s *sample) error {
	start := time.Now()
	stream, err := c.StreamAgent(ctx, &behalfv1.StreamAgentRequest{Agent: agent, Input: "Who is customer C-1?"})
	if err != nil {
		return err
	}
	last := time.Time{}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if r.GetEvent().GetTextDelta() == nil {
			continue
		}
		now := time.Now()
		if last.IsZero() {
			s.first = append(s.first, now.Sub(start))
		} else {
			s.gaps = append(s.gaps, now.Sub(last))
		}
		last = now
		s.chunks++
	}
	if last.IsZero() {
		return errors.New("the run gave no text")
	}
	s.runs++
	s.whole = append(s.whole, time.Since(start))
	return nil
}

// percentile p of ds, 0 when there are none. It sorts ds.
func percentile(ds []time.Duration, p float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	slices.Sort(ds)
	return ds[min(len(ds)-1, int(p*float64(len(ds))))]
}
