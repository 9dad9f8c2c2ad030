package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// job is one row: what is asked, by how many at once, how often.
type job struct {
	name    string
	agent   string // or a group chat
	callers int
	runs    int // in all
}

// sample is what the client saw of one job.
type sample struct {
	runs   int
	events int             // with text, each of one chunk or several
	first  []time.Duration // until the first of them, per run
	whole  []time.Duration // per run
	delays []time.Duration // of each chunk, since the model wrote it; only when paced
}

func (s *sample) add(o *sample) {
	s.runs += o.runs
	s.events += o.events
	s.first, s.whole, s.delays = append(s.first, o.first...), append(s.whole, o.whole...), append(s.delays, o.delays...)
}

// drive runs the job against one server.
func drive(ctx context.Context, c *clients, j job) (*sample, error) {
	var mu sync.Mutex
	all := &sample{}
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
	return all, g.Wait()
}

func once(ctx context.Context, c *grpc.ClientConn, agent string, s *sample) error {
	script := scriptOf(agent)
	start, before := time.Now(), len(s.delays)
	next, err := open(ctx, c, agent)
	if err != nil {
		return err
	}
	for texts := 0; ; {
		ev, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		text := ev.GetTextDelta().GetText()
		if text == "" {
			continue
		}
		now := time.Now()
		if texts++; texts == 1 {
			s.first = append(s.first, now.Sub(start))
		}
		s.events++
		if script.delay > 0 {
			s.delays = appendDelays(s.delays, text, now)
		}
	}
	s.runs++
	s.whole = append(s.whole, time.Since(start))
	if got := len(s.delays) - before; script.delay > 0 && got != script.chunks {
		return fmt.Errorf("got %d chunks, want %d", got, script.chunks)
	}
	if len(s.first) != len(s.whole) {
		return errors.New("the run gave no text")
	}
	return nil
}

// open starts a run of an agent or of a group chat, and gives its events one by one.
func open(ctx context.Context, c *grpc.ClientConn, target string) (func() (*behalfv1.Event, error), error) {
	const input = "Who is customer C-1?"
	if isChat(target) {
		s, err := behalfv1.NewGroupChatServiceClient(c).StreamGroupChat(ctx, &behalfv1.StreamGroupChatRequest{GroupChat: target, Input: input})
		return events(s), err
	}
	s, err := behalfv1.NewAgentServiceClient(c).StreamAgent(ctx, &behalfv1.StreamAgentRequest{Agent: target, Input: input})
	return events(s), err
}

func events[M interface{ GetEvent() *behalfv1.Event }](s interface{ Recv() (M, error) }) func() (*behalfv1.Event, error) {
	return func() (*behalfv1.Event, error) {
		r, err := s.Recv()
		return r.GetEvent(), err
	}
}

// appendDelays reads when the model wrote each chunk of a text.
func appendDelays(ds []time.Duration, text string, now time.Time) []time.Duration {
	for ; len(text) >= stampSize; text = text[stampSize:] {
		if at, err := strconv.ParseInt(text[:stampSize], stampBase, 64); err == nil {
			ds = append(ds, time.Duration(now.UnixNano()-at))
		}
	}
	return ds
}

// percentile p of ds, 0 when there are none. It sorts ds.
func percentile(ds []time.Duration, p float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	slices.Sort(ds)
	return ds[min(len(ds)-1, int(p*float64(len(ds))))]
}
