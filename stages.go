package behalf

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// stage is one long-lived part of the process. Its run blocks until its context
// ends and everything it started has ended.
type stage struct {
	name string
	run  func(context.Context) error
}

// runStages starts the stages and blocks until all have ended. When ctx ends or
// a stage ends by itself, they are stopped one after the other from the last to
// the first, so that none loses what it stands on while it still works.
func runStages(ctx context.Context, stages ...stage) error {
	var wg sync.WaitGroup
	broken := make(chan struct{}, len(stages))
	errs := make([]error, len(stages))
	stops := make([]func(), len(stages))
	for i, s := range stages {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		stops[i] = func() { cancel(); <-ended }
		wg.Go(func() {
			defer close(ended)
			if err := s.run(own); err != nil && own.Err() == nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, err)
			}
			broken <- struct{}{}
		})
	}
	select {
	case <-ctx.Done():
	case <-broken:
	}
	for i := len(stops) - 1; i >= 0; i-- {
		stops[i]()
	}
	wg.Wait()
	return errors.Join(errs...)
}
