package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// onlyParts is the value of -only that measures no server.
const onlyParts = "parts"

// micro is a row of PERFORMANCE.md that a benchmark in a package measures: its
// value, and for one that is compared with another of ours, that other's.
type micro struct {
	name, unit  string
	first, then target
	of, with    value
}

// value is one metric of one benchmark, in the row's unit.
type value struct {
	suite             suite
	benchmark, metric string
	scale             float64
}

// suite is benchmarks of a package that are run together.
type suite struct{ pkg, pattern string }

var (
	decide       = suite{"./policy/engine", "^BenchmarkDecide$/^rules=(50|1000)$/^arguments=read$"}
	append1and64 = suite{"./store", "^BenchmarkAppend(1|64)$"}
	append1      = suite{"./store", "^BenchmarkAppend1$"}
	chain        = suite{"./audit", "^BenchmarkMemory$"}
	token        = suite{"./identity", "^BenchmarkSeenToken$"}
	gate         = suite{"./tools", "^BenchmarkGate$/^no_audit$"}
	callable     = suite{"./tools", "^BenchmarkCallable$/^by_(toolset|names)$"}
	minted       = suite{"./calltoken", "^BenchmarkMint$"}
	backend      = suite{"./examples/crm", "^BenchmarkGovernedCall$"}
	decisions    = suite{"./store", "^BenchmarkDecisions64$"}
	governed     = suite{"./model", "^BenchmarkGoverned$/^(none|all)$"}
	heldBack     = suite{"./policy/pii", "^BenchmarkHoldBack$/^all$"}
	chat         = suite{"./agents/team", "^BenchmarkTeamTurn$/^round_robin$/^messages=(10|10000)$"}
)

// micros need no server. Processor time is read where there is a choice: other
// load on the machine hardly moves it.
func micros() []micro {
	us := func(s suite, benchmark, metric string) value { return value{s, benchmark, metric, 1e-3} }
	rows := func(s suite, benchmark string) value { return value{s, benchmark, "rows/s", 1} }
	late := func(metric string) value { return value{heldBack, "BenchmarkHoldBack/all", metric, 1} }
	decided := func(sink string) value { return value{decisions, "BenchmarkDecisions64/" + sink, "decisions/s", 1} }
	over := func(which string) value { return value{backend, "BenchmarkGovernedCall/" + which, "over-µs", 1} }
	return []micro{
		{"policy decision, 50 rules", "µs", atMost(5), atMost(3), us(decide, "BenchmarkDecide/rules=50/arguments=read", "cpu-ns/op"), value{}},
		{"policy decision, 1,000 rules", "µs", atMost(10), atMost(4), us(decide, "BenchmarkDecide/rules=1000/arguments=read", "cpu-ns/op"), value{}},
		{"audit, 64 writers; floor: one writer", "rows/s", manyWriters(), target{}, rows(append1and64, "BenchmarkAppend64"), rows(append1and64, "BenchmarkAppend1")},
		{"audit, the chain alone, in memory", "rows/s", target{}, atLeast(100_000), rows(chain, "BenchmarkMemory"), value{}},
		{"seen token", "µs", atMost(1), atMost(0.5), us(token, "BenchmarkSeenToken", "ns/op"), value{}},
		{"decisions, 64 callers, on record; floor: in memory", "n/s", target{}, target{}, decided("sqlite"), decided("memory")},
		{"stream redaction, each delta; floor: no duty", "µs", target{}, target{}, us(governed, "BenchmarkGoverned/all", "ns/delta"), us(governed, "BenchmarkGoverned/none", "ns/delta")},
		{"stream redaction, held back of prose, mean", "B", target{}, target{}, late("held-B"), value{}},
		{"stream redaction, held back of prose, most", "B", atMost(1024), target{}, late("held-max-B"), value{}},
		{"stream redaction, added delay at 20 ms a delta, mean", "ms", target{}, target{}, late("late-ms"), value{}},
		{"stream redaction, added delay at 20 ms a delta, p99", "ms", target{}, target{}, late("late-p99-ms"), value{}},
		{"gate without audit", "µs", atMost(50), atMost(15), us(gate, "BenchmarkGate/no_audit", "ns/op"), value{}},
		{"call token, minted", "µs", atMost(60), target{}, us(minted, "BenchmarkMint", "ns/op"), value{}},
		{"gRPC call of a tool over the bare call, both verified", "µs", atMost(150), target{}, over("verified"), value{}},
		{"gRPC call of a tool over the bare call, neither verified", "µs", target{}, target{}, over("unverified"), value{}},
		{"1,000 tools listed for one caller, 100 rules", "µs", atMost(5_000), target{}, us(callable, "BenchmarkCallable/by_toolset", "ns/op"), value{}},
		{"1,000 tools listed, each named in a condition", "µs", target{}, target{}, us(callable, "BenchmarkCallable/by_names", "ns/op"), value{}},
		{
			"group chat turn after 10,000 messages; floor: after 10", "µs", steady(20), steady(8),
			us(chat, "BenchmarkTeamTurn/round_robin/messages=10000", "ns/turn"), us(chat, "BenchmarkTeamTurn/round_robin/messages=10", "ns/turn"),
		},
	}
}

func manyWriters() target {
	return target{"≥ 30 × one; ≥ 20000", func(one, ours float64) bool { return ours >= 30*one && ours >= 20_000 }}
}

// steady is at most n, however long the chat: its whole time is linear when a
// turn costs the same, give or take what two measurements of one thing differ.
func steady(n float64) target {
	return target{fmt.Sprintf("≤ %.4g; linear: ≤ 1.25 × after 10", n), func(short, ours float64) bool { return ours <= n && ours <= 1.25*short }}
}

// measureMicros runs the benchmarks behind the rows that are asked for.
func measureMicros(ctx context.Context, o options) ([]row, error) {
	got := map[suite]figures{}
	var rows []row
	for _, m := range micros() {
		if o.only != onlyParts && !o.wants(m.name) {
			continue
		}
		if got[m.of.suite] == nil {
			f, err := m.of.suite.run(ctx, o.rounds())
			if err != nil {
				return nil, err
			}
			got[m.of.suite] = f
		}
		ours, with := got[m.of.suite].series(m.of), got[m.of.suite].series(m.with)
		if len(ours) == 0 || m.with != (value{}) && len(with) == 0 {
			return nil, fmt.Errorf("%s did not report %s", m.of.benchmark, m.of.metric)
		}
		rows = append(rows, newRow(m.name, figure{"part", m.unit, m.first, m.then}, with, ours))
	}
	return rows, nil
}

// durableAppend is how many milliseconds one takes.
func durableAppend(ctx context.Context, rounds int) (float64, error) {
	f, err := append1.run(ctx, rounds)
	if err != nil {
		return 0, err
	}
	return 1e3 / median(f.series(value{append1, "BenchmarkAppend1", "rows/s", 1})), nil
}

// figures are what benchmarks reported, one for each round.
type figures map[[2]string][]float64

func (f figures) series(v value) series {
	var s series
	for _, n := range f[[2]string{v.benchmark, v.metric}] {
		s = append(s, n*v.scale)
	}
	return s
}

func (s suite) run(ctx context.Context, rounds int) (figures, error) {
	say("%s: go test -bench %s", s.pkg, s.pattern)
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-count", strconv.Itoa(rounds), "-benchtime", "0.5s", "-bench", s.pattern, s.pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s %s: %w\n%s", s.pattern, s.pkg, err, out)
	}
	f := figures{}
	f.parse(out)
	return f, nil
}

// parse reads lines such as
//
//	BenchmarkAppend64-2   20000   47831 ns/op   44.45 cpu-µs/row   20907 rows/s
func (f figures) parse(out []byte) {
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) < 4 || !strings.HasPrefix(w[0], "Benchmark") {
			continue
		}
		name := w[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		for i := 2; i+1 < len(w); i += 2 {
			if v, err := strconv.ParseFloat(w[i], 64); err == nil {
				f[[2]string{name, w[i+1]}] = append(f[[2]string{name, w[i+1]}], v)
			}
		}
	}
}
