package behalf

import (
	"context"
	"testing"

	"github.com/behalf-dev/behalf/tools/exchange"
)

// idle is a source that runs and has nothing.
type idle struct {
	source
	begun chan struct{}
}

func (i idle) Run(ctx context.Context) error {
	close(i.begun)
	<-ctx.Done()
	return nil
}

func (idle) Changed() <-chan struct{} { return nil }

// TestExchangesAreThoseOfTheSourcesThatRun: a lock must purge what a source has that
// was replaced and still ends its last calls, and one that never ran has nothing.
func TestExchangesAreThoseOfTheSourcesThatRun(t *testing.T) {
	t.Parallel()
	var all exchanges
	b := newBackends()
	old := &running{source: all.follow(idle{begun: make(chan struct{})}, &exchange.Exchange{})}
	next := &running{source: all.follow(idle{begun: make(chan struct{})}, &exchange.Exchange{})}
	refused := &running{source: all.follow(idle{begun: make(chan struct{})}, &exchange.Exchange{})}
	if all.any() {
		t.Error("persons' tokens are held, and nothing runs")
	}
	for _, r := range []*running{old, next} {
		b.run(r)
		<-r.source.(*exchanging).source.(idle).begun
	}
	for r, want := range map[*running]bool{old: true, next: true, refused: false} {
		if got := all.of[r.source.(*exchanging).x]; got != want {
			t.Errorf("a lock purges it: %v, want %v", got, want)
		}
	}
	b.close()
	if all.any() {
		t.Error("persons' tokens are still held after the end")
	}
}
