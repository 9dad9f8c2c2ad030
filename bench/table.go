package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// target is what a figure should be, beside the floor's. The zero value is met
// by anything and says nothing.
type target struct {
	text string
	met  func(floor, ours float64) bool
}

// times is at most n times the floor's figure.
func times(n float64) target {
	return target{fmt.Sprintf("≤ %.4g × floor", n), func(floor, ours float64) bool { return ours <= n*floor }}
}

// atMost and atLeast hold for the figure itself.
func atMost(n float64) target {
	return target{fmt.Sprintf("≤ %.4g", n), func(_, ours float64) bool { return ours <= n }}
}

func atLeast(n float64) target {
	return target{fmt.Sprintf("≥ %.0f", n), func(_, ours float64) bool { return ours >= n }}
}

// figure is what is compared: its name and unit, the target that comes first
// and the one after.
type figure struct {
	what, unit  string
	first, then target
}

// row is one line of the answer: medians, and the rounds that they are of.
type row struct {
	Job          string   `json:"job"`
	What         string   `json:"what"`
	Unit         string   `json:"unit"`
	Floor        float64  `json:"floor,omitempty"`
	Behalf       float64  `json:"behalf"`
	Ratio        float64  `json:"ratio,omitempty"`
	First        *verdict `json:"first,omitempty"`
	Then         *verdict `json:"then,omitempty"`
	FloorRounds  series   `json:"floor_rounds,omitempty"`
	BehalfRounds series   `json:"behalf_rounds"`
}

type series []float64

type verdict struct {
	Target string `json:"target"`
	Met    bool   `json:"met"`
}

// newRow compares what the rounds gave; floor is empty where there is none.
func newRow(job string, f figure, floor, ours series) row {
	r := row{Job: job, What: f.what, Unit: f.unit, Floor: median(floor), Behalf: median(ours), FloorRounds: floor, BehalfRounds: ours}
	if r.Floor > 0 {
		r.Ratio = r.Behalf / r.Floor
	}
	r.First, r.Then = f.first.judge(r), f.then.judge(r)
	return r
}

func (t target) judge(r row) *verdict {
	if t.met == nil {
		return nil
	}
	return &verdict{t.text, t.met(r.Floor, r.Behalf)}
}

func (v *verdict) String() string {
	switch {
	case v == nil:
		return "-"
	case v.Met:
		return "met: " + v.Target
	}
	return "MISSED: " + v.Target
}

func median(v series) float64 {
	if len(v) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// answers is all that a run of the program found.
type answers struct {
	Rounds  int     `json:"rounds"`
	CPUs    int     `json:"cpus"`
	Load    string  `json:"load"` // of the machine, before
	Seconds float64 `json:"seconds"`
	Rows    []row   `json:"rows"`
}

func (a answers) show(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(a)
	}
	fmt.Fprintf(w, "\n%-56s %-26s %10s %10s %6s  %-42s %s\n", "job", "what", "floor", "behalf", "ratio", "first target", "then")
	for i, r := range a.Rows {
		job := r.Job
		if i > 0 && job == a.Rows[i-1].Job {
			job = "" // a job's rows stand together
		}
		fmt.Fprintf(w, "%-56s %-26s %10s %10.2f %6s  %-42v %v\n", job, r.What+" ("+r.Unit+")", beside(r.Floor), r.Behalf, beside(r.Ratio), r.First, r.Then)
	}
	met, missed := a.count()
	fmt.Fprintf(w, "\nfirst targets: %d met, %d missed; median of %d; %d CPUs, load before %s; took %v\n",
		met, missed, a.Rounds, a.CPUs, a.Load, time.Duration(a.Seconds*float64(time.Second)).Round(time.Second))
	return nil
}

func (a answers) count() (met, missed int) {
	for _, r := range a.Rows {
		switch {
		case r.First == nil:
		case r.First.Met:
			met++
		default:
			missed++
		}
	}
	return met, missed
}

// beside is a figure that some rows do not have.
func beside(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}
