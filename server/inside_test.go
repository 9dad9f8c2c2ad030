package server

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestLinesInsideAreMadeWhenOthersAreFullAndHaveAnEnd(t *testing.T) {
	t.Parallel()
	i := newInside(2)
	t.Cleanup(func() { _ = i.Close() })
	var first *line
	for n := range 2 * maxLines {
		l, err := i.take()
		if err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		if l.busy > 2 || len(i.lines) != n/2+1 {
			t.Fatalf("call %d: got %d calls on one of %d lines, want two on each", n, l.busy, len(i.lines))
		}
		if first == nil {
			first = l
		}
	}

	if l, err := i.take(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, %v, want no line without end", l, err)
	}
	i.give(first)
	if l, err := i.take(); err != nil || l != first {
		t.Errorf("got %v, %v, want the place that is free again", l, err)
	}
}
