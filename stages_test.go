package behalf

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

func TestStagesStopFromTheLastToTheFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var order []string
	part := func(name string) stage {
		return stage{name, func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return nil
		}}
	}

	cancel()
	err := runStages(ctx, part("store"), part("runs"), part("server"))

	if want := []string{"server", "runs", "store"}; err != nil || !slices.Equal(order, want) {
		t.Errorf("got order %v and error %v, want %v", order, err, want)
	}
}

func TestAStageThatFailsStopsTheOthersAndIsNamed(t *testing.T) {
	broken := errors.New("disk gone")
	err := runStages(t.Context(),
		stage{"store", func(context.Context) error { return broken }},
		stage{"server", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	)

	if !errors.Is(err, broken) || err.Error() != "store: disk gone" {
		t.Errorf("got %v, want store: disk gone", err)
	}
}
