package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// onlyParts is the value of -only that measures no server.
const onlyParts = "parts"

// micro is a row of PERFORMANCE.md that a benchmark in a package measures: its
// value, and for one that is compared with another of ours, that other's.
type micro struct {
	name, unit, target string
	of, with           value
}

// value is one metric of one benchmark, in the row's unit.
type value struct {
	benchmark, metric string
	scale             float64
}

// micros need no server. Processor time is read where there is a choice: other
// load on the machine hardly moves it.
func micros() []micro {
	us := func(benchmark, metric string) value { return value{benchmark, metric, 1e-3} }
	return []micro{
		{name: "policy decision, 50 rules", unit: "µs", target: "≤ 5", of: us("BenchmarkDecide/rules=50/arguments=read", "cpu-ns/op")},
		{name: "policy decision, 1,000 rules", unit: "µs", target: "≤ 10", of: us("BenchmarkDecide/rules=1000/arguments=read", "cpu-ns/op")},
		{
			name: "audit, 64 writers beside one", unit: "rows/s", target: "≥ 30 × one; ≥ 20,000",
			of: value{"BenchmarkAppend64", "rows/s", 1}, with: value{"BenchmarkAppend1", "rows/s", 1},
		},
		{name: "seen token", unit: "µs", target: "≤ 1", of: us("BenchmarkSeenToken", "ns/op")},
		{name: "gate without audit", unit: "µs", target: "≤ 50", of: us("BenchmarkGate/no_audit", "ns/op")},
	}
}

// measureMicros runs the benchmarks behind the rows and gives the rows and how
// many milliseconds one durable append takes.
func measureMicros(ctx context.Context, rounds int) (rows []row, durable float64, err error) {
	fmt.Fprintln(os.Stderr, "measuring parts …")
	got, err := goBench(ctx, rounds)
	if err != nil {
		return nil, 0, err
	}
	for _, m := range micros() {
		r := row{Job: m.name, What: "micro", Unit: m.unit, Behalf: got.median(m.of), Target: m.target}
		if m.with.benchmark != "" {
			r.Floor = got.median(m.with)
			r.Ratio = r.Behalf / r.Floor
		}
		rows = append(rows, r)
	}
	return rows, 1e3 / got.median(value{"BenchmarkAppend1", "rows/s", 1}), nil
}

// figures are what benchmarks reported, one for each round.
type figures map[[2]string][]float64

func (f figures) median(v value) float64 {
	all := slices.Sorted(slices.Values(f[[2]string{v.benchmark, v.metric}]))
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2] * v.scale
}

// suites are the benchmarks of each package that are run.
var suites = [][2]string{
	{"./policy", "^BenchmarkDecide$/^rules=(50|1000)$/^arguments=read$"},
	{"./store", "^BenchmarkAppend(1|64)$"},
	{"./identity", "^BenchmarkSeenToken$"},
	{"./tools", "^BenchmarkGate$/^no_audit$"},
}

func goBench(ctx context.Context, rounds int) (figures, error) {
	f := figures{}
	for _, s := range suites {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-count", strconv.Itoa(rounds), "-benchtime", "0.5s", "-bench", s[1], s[0])
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go test -bench %s %s: %w\n%s", s[1], s[0], err, out)
		}
		f.parse(out)
	}
	for _, m := range micros() {
		if f.median(m.of) == 0 {
			return nil, fmt.Errorf("%s did not report %s", m.of.benchmark, m.of.metric)
		}
	}
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
