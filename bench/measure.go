package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// server is one measured server and the clients that talk to it.
type server struct {
	name    string
	proc    *proc
	clients *clients
}

// plan is one row of PERFORMANCE.md.
type plan struct {
	job
	against string // the behalf process that is measured
	rows    []figure
}

// figure is what is compared of a job.
type figure struct {
	what, unit, target string
	of                 func(result) float64
}

// result is one round of one job on one server.
type result struct {
	*sample
	cpu time.Duration
}

func cpuPer1000(r result) float64 { return r.cpu.Seconds() / float64(r.runs) * 1000 }

func textEvents(r result) float64 { return float64(r.chunks) / float64(r.runs) }

func firstP50(r result) float64 { return ms(percentile(r.first, 0.5)) }
func wholeP50(r result) float64 { return ms(percentile(r.whole, 0.5)) }
func gapP99(r result) float64   { return ms(percentile(r.gaps, 0.99)) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func plans(quick bool) []plan {
	n := 1
	if quick {
		n = 4
	}
	tool := job{agent: "a-1-20-0", callers: 64, runs: 2560 / n}
	alone := job{agent: "a-1-20-0", callers: 1, runs: 200 / n}
	long := job{agent: "a-0-200-0", callers: 16, runs: 640 / n}
	paced := job{agent: "a-0-100-20", callers: 400, runs: 400}
	cpu := func(target string) figure { return figure{"CPU/1,000 runs", "s", target, cpuPer1000} }
	first := figure{"first chunk p50", "ms", "", firstP50}
	return []plan{
		{named(tool, "1 tool + 20 chunks, 64 callers, memory"), "memory", []figure{cpu("≤ 1.10"), first}},
		{named(tool, "1 tool + 20 chunks, 64 callers, embedded"), "embedded", []figure{cpu("≤ 1.4"), first}},
		{named(alone, "1 tool + 20 chunks, 1 caller, memory"), "memory", []figure{{"run p50", "ms", durableAppends, wholeP50}, first}},
		{named(long, "200 chunks, 16 callers, each chunk an event"), "single", []figure{cpu("≤ 0.6"), first}},
		{named(long, "200 chunks, 16 callers, coalesced"), "memory", []figure{cpu("≤ 0.25"), first, {"text events a run", "n", "", textEvents}}},
		{named(paced, "400 streams, 20 ms between chunks"), "memory", []figure{cpu("≤ 1.0"), {"chunk gap p99", "ms", "≤ floor", gapP99}}},
	}
}

func named(j job, name string) job {
	j.name = name
	return j
}

// measure runs everything and prints the table.
func measure(ctx context.Context, o options) error {
	rounds := 5
	if o.quick {
		rounds = 1
	}
	if o.only == onlyParts {
		parts, _, err := measureMicros(ctx, rounds)
		if err != nil {
			return err
		}
		show(parts, o.json)
		return nil
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	var rows []row
	for _, p := range plans(o.quick) {
		if !strings.Contains(p.name, o.only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", p.name)
		r, err := w.compare(ctx, p, rounds)
		if err != nil {
			return err
		}
		rows = append(rows, r...)
	}
	if o.only != "" {
		show(rows, o.json)
		return nil
	}
	idle, err := w.idle(ctx)
	if err != nil {
		return err
	}
	parts, durable, err := measureMicros(ctx, rounds)
	if err != nil {
		return err
	}
	nameTarget(rows, durable)
	show(append(append(rows, idle), parts...), o.json)
	return nil
}

// durableAppends says in a target what is known only when all is measured.
const durableAppends = "≤ floor + 3 durable appends"

func nameTarget(rows []row, durable float64) {
	for i, r := range rows {
		if r.Target == durableAppends {
			rows[i].Target = fmt.Sprintf("≤ %.2f: floor + 3 durable appends of %.2f ms", r.Floor+3*durable, durable)
		}
	}
}

// compare runs the rounds in turns, so that what else the machine does falls on
// both, and gives the medians.
func (w *world) compare(ctx context.Context, p plan, rounds int) ([]row, error) {
	got := map[string][]result{}
	for i := range rounds + 1 {
		for _, name := range []string{"floor", p.against} {
			r, err := w.round(ctx, w.servers[name], p.job)
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", p.name, name, err)
			}
			if i > 0 { // the first warms up
				got[name] = append(got[name], r)
			}
		}
	}
	var rows []row
	for _, f := range p.rows {
		a, b := median(got["floor"], f.of), median(got[p.against], f.of)
		rows = append(rows, row{p.name, f.what, f.unit, a, b, b / a, f.target})
	}
	return rows, nil
}

func (w *world) round(ctx context.Context, s *server, j job) (result, error) {
	before, err := s.proc.cpu()
	if err != nil {
		return result{}, err
	}
	got, err := drive(ctx, s.clients, j)
	if err != nil {
		return result{}, err
	}
	after, err := s.proc.cpu()
	return result{got, after - before}, err
}

func median(rs []result, of func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, of(r))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// idleStreams is how many streams are held open to see what one costs.
const idleStreams = 1000

// idle opens streams on which the model has said nothing yet and compares what
// they hold.
func (w *world) idle(ctx context.Context) (row, error) {
	fmt.Fprintln(os.Stderr, "measuring memory of idle streams …")
	per := map[string]float64{}
	for _, name := range []string{"floor", "memory"} {
		s := w.servers[name]
		before, err := s.proc.memory()
		if err != nil {
			return row{}, err
		}
		release, err := s.clients.hold(ctx, "a-0-2-100000", idleStreams)
		if err != nil {
			return row{}, err
		}
		after, err := s.proc.memory()
		release()
		if err != nil {
			return row{}, err
		}
		per[name] = float64(after-before) / idleStreams / 1024
	}
	return row{fmt.Sprintf("%d idle streams", idleStreams), "memory per stream", "KiB", per["floor"], per["memory"], per["memory"] / per["floor"], "≤ 65 KiB"}, nil
}
