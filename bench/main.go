package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
)

func main() {
	var o options
	role := flag.String("role", "", "internal: what a child process does")
	flag.StringVar(&o.dir, "dir", "", "internal: folder with credentials")
	flag.StringVar(&o.modelURL, "model", "", "internal: address of the model")
	flag.StringVar(&o.log, "log", "memory", "internal: the run log of a behalf process")
	flag.BoolVar(&o.noCoalesce, "no-coalesce", false, "internal: one event for each chunk")
	flag.BoolVar(&o.quick, "quick", false, "one short round of each row")
	flag.StringVar(&o.only, "only", "", "measure only the jobs whose name contains this; parts: only what needs no server")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := play(ctx, *role, o); err != nil && !errors.Is(err, context.Canceled) {
		stop()
		log.Fatalln("bench:", err)
	}
}

type options struct {
	dir, modelURL, log, only string
	quick, json, noCoalesce  bool
}

func play(ctx context.Context, role string, o options) error {
	switch role {
	case "":
		return measure(ctx, o)
	case "model":
		return listening("127.0.0.1:0", serveModel)
	case "floor":
		t, err := serverTLS(o.dir)
		if err != nil {
			return err
		}
		return listening("127.0.0.1:0", func(l net.Listener) error { return serveFloor(l, t, o.modelURL) })
	case "behalf":
		return serveBehalf(ctx, o)
	}
	return fmt.Errorf("unknown role %q", role)
}

// listening tells the parent where, then serves.
func listening(addr string, serve func(net.Listener) error) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, l.Addr())
	return serve(l)
}

func serverTLS(dir string) (*tls.Config, error) {
	p, err := peers(dir)
	if err != nil {
		return nil, err
	}
	return p.ServerTLS(required), nil
}

// row is one line of the answer.
type row struct {
	Job    string  `json:"job"`
	What   string  `json:"what"`
	Unit   string  `json:"unit"`
	Floor  float64 `json:"floor"`
	Behalf float64 `json:"behalf"`
	Ratio  float64 `json:"ratio"`
	Target string  `json:"target"`
}

func show(rows []row, asJSON bool) {
	if asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(rows)
		return
	}
	fmt.Fprintf(os.Stdout, "\n%-46s %-22s %10s %10s %7s  %s\n", "job", "what", "floor", "behalf", "ratio", "target")
	for _, r := range rows {
		fmt.Fprintf(os.Stdout, "%-46s %-22s %10s %10.2f %7s  %s\n", r.Job, r.What+" ("+r.Unit+")", beside(r.Floor), r.Behalf, beside(r.Ratio), r.Target)
	}
}

// beside is a figure that some rows do not have.
func beside(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}
