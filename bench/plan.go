package main

import "time"

// plan is one job of PERFORMANCE.md and what is compared of it.
type plan struct {
	job
	against string // the behalf process that is measured
	rows    []measured
}

// measured is a figure of a round.
type measured struct {
	figure
	of func(result) float64
}

// result is one round of one job on one server: what the client saw and what
// it cost the server.
type result struct {
	*sample
	cpu     time.Duration
	allocs  int64
	memory  int64 // resident at the peak, less what was left when all had ended
	callers int
}

// aloneJob is the row whose target needs to know how long a durable append takes.
const aloneJob = "1 tool + 20 chunks, 1 caller, memory"

func plans(quick bool) []plan {
	n := 1
	if quick {
		n = 4
	}
	tool := job{agent: toolAgent, callers: 64, runs: 2560 / n}
	alone := job{agent: toolAgent, callers: 1, runs: 200 / n}
	long := job{agent: longAgent, callers: 16, runs: 640 / n}
	paced := func(callers, runs int) job { return job{agent: pacedAgent, callers: callers, runs: runs} }
	return []plan{
		{named(tool, "1 tool + 20 chunks, 64 callers, memory"), "memory", costs(times(1.10), times(0.75))},
		{named(tool, "1 tool + 20 chunks, 64 callers, embedded"), "embedded", costs(times(1.4), times(1))},
		{named(alone, aloneJob), "memory", append([]measured{{figure{"run p50", "ms", target{}, times(1.5)}, wholeP50}}, costs(target{}, target{})...)},
		{named(long, "200 chunks, 16 callers, each chunk an event"), "single", costs(times(0.6), times(0.5))},
		{named(long, "200 chunks, 16 callers, coalesced"), "memory", append(costs(times(0.25), times(0.16)), measured{figure{what: "text events a run", unit: "n"}, textEvents})},
		{named(paced(400, 400), "400 streams, 20 ms between chunks"), "memory", append(costs(times(1), times(0.95)), delays(target{}, target{})...)},
		{named(paced(2000, 2000), "2,000 streams, 20 ms between chunks"), "memory", costs(times(1), times(0.7))},
		{named(paced(50, 100), "50 streams, 20 ms: below saturation"), "memory", append(delays(times(1), times(0.6)), costs(target{}, target{})...)},
	}
}

func named(j job, name string) job {
	j.name = name
	return j
}

// costs are the figures of every job; the targets are those of its CPU.
func costs(first, then target) []measured {
	return []measured{
		{figure{"CPU/1,000 runs", "s", first, then}, func(r result) float64 { return r.cpu.Seconds() / float64(r.runs) * 1000 }},
		{figure{what: "allocations a run", unit: "n"}, func(r result) float64 { return float64(r.allocs) / float64(r.runs) }},
		{figure{what: "first chunk p50", unit: "ms"}, func(r result) float64 { return ms(percentile(r.first, 0.5)) }},
		{figure{what: "memory per stream", unit: "KiB"}, func(r result) float64 { return float64(r.memory) / float64(r.callers) / 1024 }},
	}
}

// delays are the figures of paced jobs; the targets are those of the 99th percentile.
func delays(first, then target) []measured {
	return []measured{
		{figure{what: "chunk delay p50", unit: "ms"}, func(r result) float64 { return ms(percentile(r.delays, 0.5)) }},
		{figure{"chunk delay p99", "ms", first, then}, func(r result) float64 { return ms(percentile(r.delays, 0.99)) }},
	}
}

func textEvents(r result) float64 { return float64(r.events) / float64(r.runs) }
func wholeP50(r result) float64   { return ms(percentile(r.whole, 0.5)) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
