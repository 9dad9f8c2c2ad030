package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// measure runs what is asked for and prints the table.
func measure(ctx context.Context, o options) error {
	begun := time.Now()
	a := answers{Rounds: o.rounds(), CPUs: runtime.NumCPU(), Load: load()}
	rows, err := measureServers(ctx, o)
	if err != nil {
		return err
	}
	parts, err := measureMicros(ctx, o)
	if err != nil {
		return err
	}
	a.Rows, a.Seconds = append(rows, parts...), time.Since(begun).Seconds()
	if len(a.Rows) == 0 {
		return fmt.Errorf("no row's name contains %q", o.only)
	}
	return a.show(os.Stdout, o.json)
}

// load is the machine's load average of the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}

// measureServers gives the rows that need servers.
func measureServers(ctx context.Context, o options) ([]row, error) {
	wanted := slices.DeleteFunc(plans(o.quick), func(p plan) bool { return !o.wants(p.name) })
	if len(wanted) == 0 && !wantsIdle(o) && !wantsChats(o) && !o.wants(lockJob("")) {
		return nil, nil
	}
	w, err := newWorld(ctx)
	defer w.close()
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, p := range wanted {
		r, err := w.compare(ctx, p, o.rounds())
		if err != nil {
			return nil, err
		}
		rows = append(rows, r...)
	}
	chats, err := w.chats(ctx, o)
	if err != nil {
		return nil, err
	}
	rows = append(rows, chats...)
	if o.wants(lockJob("")) {
		r, err := w.locks(ctx, o.rounds())
		if err != nil {
			return nil, err
		}
		rows = append(rows, r...)
	}
	if !wantsIdle(o) {
		return rows, nil
	}
	idle, err := w.idle(ctx, o.rounds())
	return append(rows, idle...), err
}

// compare runs the rounds in turns and gives the medians.
func (w *world) compare(ctx context.Context, p plan, rounds int) ([]row, error) {
	p, err := p.fit()
	if err != nil {
		return nil, err
	}
	if p.name == aloneJob {
		if err := p.waitsForAppends(ctx, rounds); err != nil {
			return nil, err
		}
	}
	got := map[string][]result{}
	for i := range rounds + 1 {
		for _, name := range []string{"floor", p.against} {
			say("%s: %s, %s", p.name, turn(i, rounds), name)
			r, err := w.round(ctx, name, p.job)
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", p.name, name, err)
			}
			if i > 0 { // the first warms up
				got[name] = append(got[name], r)
			}
		}
	}
	var rows []row
	for _, m := range p.rows {
		rows = append(rows, newRow(p.name, m.figure, each(got["floor"], m.of), each(got[p.against], m.of)))
	}
	return rows, nil
}

// fit takes fewer callers if there is no room for all, and says so in the row.
func (p plan) fit() (plan, error) {
	fits, why := room(p.callers)
	if fits == 0 {
		return p, fmt.Errorf("no room for %s%s", p.name, why)
	}
	p.runs, p.callers, p.name = p.runs*fits/p.callers, fits, p.name+why
	return p, nil
}

func turn(i, rounds int) string {
	if i == 0 {
		return "warming up"
	}
	return fmt.Sprintf("round %d of %d", i, rounds)
}

// waitsForAppends sets the target of the first figure: the floor's and three
// durable appends.
func (p plan) waitsForAppends(ctx context.Context, rounds int) error {
	one, err := durableAppend(ctx, rounds)
	if err != nil {
		return err
	}
	p.rows[0].first = target{
		fmt.Sprintf("≤ floor + 3 appends of %.2f ms", one),
		func(floor, ours float64) bool { return ours <= floor+3*one },
	}
	return nil
}

func (w *world) round(ctx context.Context, name string, j job) (result, error) {
	s, err := w.server(ctx, name)
	if err != nil {
		return result{}, err
	}
	before, err := s.proc.rest()
	if err != nil {
		return result{}, err
	}
	got, err := drive(ctx, s.clients, j)
	if err != nil {
		return result{}, err
	}
	after, err := s.proc.peak()
	if err != nil {
		return result{}, err
	}
	left, err := s.proc.rest() // what runs leave in the log is not the streams'
	return result{got, after.cpu - before.cpu, after.allocs - before.allocs, after.memory - left.memory, j.callers}, err
}

// each gives a figure of each round.
func each[T any](rounds []T, of func(T) float64) series {
	var v series
	for _, r := range rounds {
		v = append(v, of(r))
	}
	return v
}
