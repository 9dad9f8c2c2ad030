package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
)

func main() {
	var o options
	role := flag.String("role", "", "internal: what a child process does")
	flag.StringVar(&o.dir, "dir", "", "internal: folder with credentials")
	flag.StringVar(&o.modelURL, "model", "", "internal: address of the model")
	flag.StringVar(&o.log, "log", "memory", "internal: the run log of a behalf process")
	flag.BoolVar(&o.noCoalesce, "no-coalesce", false, "internal: one event for each chunk")
	flag.BoolVar(&o.quick, "quick", false, "one short round of each row")
	flag.StringVar(&o.only, "only", "", "measure only the rows whose name contains this; parts: only what needs no server")
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

// wants says whether -only asks for a row.
func (o options) wants(name string) bool { return strings.Contains(name, o.only) }

// rounds is how many count; each figure is their median.
func (o options) rounds() int {
	if o.quick {
		return 1
	}
	return 5
}

func play(ctx context.Context, role string, o options) error {
	if role == "" {
		return measure(ctx, o)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process, or ends it when the parent is gone
		defer cancel()
		answer(os.Stdin, os.Stdout)
	}()
	switch role {
	case "model":
		return listening(ctx, serveModel)
	case "floor":
		t, err := serverTLS(o.dir)
		if err != nil {
			return err
		}
		return listening(ctx, func(l net.Listener) error { return serveFloor(l, t, o.modelURL) })
	case "behalf":
		return serveBehalf(ctx, o)
	}
	return fmt.Errorf("unknown role %q", role)
}

// listening tells the parent where, then serves until ctx ends.
func listening(ctx context.Context, serve func(net.Listener) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	fmt.Fprintln(os.Stdout, l.Addr())
	if err := serve(l); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

func serverTLS(dir string) (*tls.Config, error) {
	p, err := peers(dir)
	if err != nil {
		return nil, err
	}
	return p.ServerTLS(required), nil
}

// say is a line of progress, before something that takes a while.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+" …\n", args...) }
