package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "only the mutants whose name or file contains this, or one of several with commas between")
	flag.StringVar(&o.area, "area", "", "only the mutants of this area, the name of a file in build/mutants")
	flag.BoolVar(&o.list, "list", false, "list the mutants and the guarantees that they break")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.IntVar(&o.atOnce, "j", 2, "how many at once")
	flag.DurationVar(&o.limit, "limit", 90*time.Second, "how long the tests of one folder may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := play(ctx, o); err != nil {
		stop()
		log.Fatalln("mutants:", err)
	}
}

type options struct {
	only, area string
	list, json bool
	atOnce     int
	limit      time.Duration
}

func play(ctx context.Context, o options) error {
	all, err := load("build/mutants")
	if err != nil {
		return err
	}
	all = chosen(all, o.only)
	if o.area != "" {
		all = slices.DeleteFunc(all, func(m Mutant) bool { return m.Area != o.area })
	}
	if len(all) == 0 {
		return fmt.Errorf("no mutant of area %q is called %q; see -list", o.area, o.only)
	}
	if o.list {
		return list(os.Stdout, all)
	}
	return hunt(ctx, all, o)
}

// chosen are the mutants whose name or file has one of the words, which have commas
// between.
func chosen(all []Mutant, only string) (some []Mutant) {
	words := strings.Split(only, ",")
	for _, m := range all {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(m.Name, w) || strings.Contains(m.File, w) }) {
			some = append(some, m)
		}
	}
	return some
}

func list(w io.Writer, all []Mutant) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, m := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Area, m.Name, m.File, m.Holds)
	}
	return t.Flush()
}

// hunt tries all mutants and reports. Its error is that one was not caught.
func hunt(ctx context.Context, all []Mutant, o options) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := &lab{root: ".", dir: dir, limit: o.limit}
	start := time.Now()
	say("the tests as they are, in %s", strings.Join(folders(all), " "))
	if err := l.sound(ctx, all); err != nil {
		return err
	}
	results := tryAll(ctx, l, all, o.atOnce)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := report{Results: results, Seconds: time.Since(start).Seconds()}
	if o.json {
		err = json.NewEncoder(os.Stdout).Encode(r)
	} else {
		err = r.print(os.Stdout)
	}
	if err != nil {
		return err
	}
	return r.err()
}

// tryAll tries some mutants at once, and gives the results in the mutants' order.
func tryAll(ctx context.Context, l *lab, all []Mutant, atOnce int) []Result {
	results := make([]Result, len(all))
	var g errgroup.Group
	g.SetLimit(atOnce)
	p := progress{all: len(all), start: time.Now()}
	for i := range all {
		g.Go(func() error {
			if ctx.Err() == nil {
				results[i] = l.try(ctx, &all[i])
				p.tell(&results[i])
			}
			return nil
		})
	}
	_ = g.Wait() // nothing gives an error
	return results
}

// progress says how far it is, and how long it will take.
type progress struct {
	all   int
	start time.Time

	mu   sync.Mutex
	done int
}

func (p *progress) tell(r *Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	left := time.Since(p.start) / time.Duration(p.done) * time.Duration(p.all-p.done)
	say("%d of %d, about %v left: %s %s %s%s (%.1f s)", p.done, p.all, left.Round(time.Second), r.Name, r.Verdict, r.By, r.Cause, r.Seconds)
}

// say is a line of progress.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

type report struct {
	Results []Result `json:"results"`
	Seconds float64  `json:"seconds"`
}

func (r report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, m := range r.Results {
		fmt.Fprintf(t, "%s\t%s\t%s%s\n", m.Name, m.Verdict, m.By, m.Cause)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range r.escaped() {
		fmt.Fprintf(w, "\n%s: %s\n  nothing holds this: %s\n", m.Verdict, m.Name, m.Holds)
	}
	fmt.Fprintln(w)
	for _, area := range r.areas() {
		fmt.Fprintln(w, area)
	}
	_, err := fmt.Fprintf(w, "%d mutants, %d caught, in %v\n", len(r.Results), len(r.Results)-len(r.escaped()), time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
	return err
}

// areas says of each area how many of its mutants were caught.
func (r report) areas() (lines []string) {
	for i := 0; i < len(r.Results); {
		area, all, caught := r.Results[i].Area, 0, 0
		for ; i < len(r.Results) && r.Results[i].Area == area; i++ {
			if all++; r.Results[i].Verdict == Caught {
				caught++
			}
		}
		lines = append(lines, fmt.Sprintf("%s: %d of %d caught", area, caught, all))
	}
	return lines
}

func (r report) escaped() (some []Result) {
	for _, m := range r.Results {
		if m.Verdict != Caught {
			some = append(some, m)
		}
	}
	return some
}

func (r report) err() error {
	if n := len(r.escaped()); n > 0 {
		return fmt.Errorf("%d of %d were not caught", n, len(r.Results))
	}
	return nil
}
