package main

import (
	"testing"
	"time"
)

func TestStampsOfJoinedChunksAreRead(t *testing.T) {
	now := time.Now()
	var text string
	for i := range 3 {
		chunk := []byte(plainText)
		stamp(chunk, now.Add(-time.Duration(i)*time.Millisecond))
		text += string(chunk)
	}

	got := appendDelays(nil, text, now)

	if len(got) != 3 || got[0] != 0 || got[1] != time.Millisecond || got[2] != 2*time.Millisecond {
		t.Errorf("got %v, want 0s, 1ms, 2ms", got)
	}
}

func TestTargetsAreJudgedByTheMedian(t *testing.T) {
	for _, c := range []struct {
		target target
		ours   series
		want   string
	}{
		{times(1.1), series{9, 1.1, 1}, "met: ≤ 1.1 × floor"},
		{times(1.1), series{9, 1.2, 1}, "MISSED: ≤ 1.1 × floor"},
		{atMost(5), series{5}, "met: ≤ 5"},
		{atLeast(100_000), series{99_999}, "MISSED: ≥ 100000"},
		{manyWriters(), series{20_000}, "met: ≥ 30 × one; ≥ 20000"},
		{steady(20), series{2}, "MISSED: ≤ 20; linear: ≤ 1.25 × after 10"},
		{target{}, series{1}, "-"},
	} {
		if got := newRow("job", figure{first: c.target}, series{1, 1, 1}, c.ours).First.String(); got != c.want {
			t.Errorf("%v: got %q, want %q", c.ours, got, c.want)
		}
	}
}

func TestFiguresOfABenchmarkAreParsed(t *testing.T) {
	f := figures{}
	f.parse([]byte("goos: linux\nBenchmarkAppend1-2   2000   47831 ns/op   44.45 cpu-µs/row   1250 rows/s\nBenchmarkAppend1-2   2000   47831 ns/op   1300 rows/s\nPASS\n"))

	got := f.series(value{append1, "BenchmarkAppend1", "rows/s", 1})

	if len(got) != 2 || got[0] != 1250 || got[1] != 1300 {
		t.Errorf("got %v, want 1250, 1300", got)
	}
}
