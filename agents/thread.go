package agents

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// What every agent does that speaks in a thread.

// OwnChain is the chain of the grant in ctx, which must be the agent's own.
func OwnChain(ctx context.Context, agent string) ([]string, error) {
	g, ok := identity.FromContext(ctx)
	if !ok || g.Agent() != agent {
		return nil, fault.New(codes.Internal, fault.Internal, "the agent has no identity to act with").
			Because(fmt.Errorf("agent %q runs under the grant of %q", agent, g.Agent()))
	}
	return g.Chain(), nil
}

// Commit yields an event of t's thread, false if the run is over: the consumer
// broke, or did not store it.
func Commit(t *Transcript, e Event, yield func(Event, error) bool) bool {
	e.Thread = t.Thread()
	if e.Live() {
		return yield(e, nil)
	}
	before := t.Len()
	if !yield(e, nil) {
		return false
	}
	if t.Len() == before {
		yield(Event{}, errNotCommitted)
		return false
	}
	return true
}

// errNotCommitted stops what would be an endless loop.
var errNotCommitted = fault.New(codes.Internal, fault.Internal, "the run's events are not being stored").
	Because(errors.New("the consumer did not append an event to the transcript"))

// MessageID names the reply that the event with this sequence asked for.
func MessageID(runID string, sequence uint64) string { return fmt.Sprintf("%s/m%d", runID, sequence) }

// CheckName refuses a name of an agent that could not be part of a thread's.
func CheckName(name string) error {
	return require(name != "" && !strings.ContainsAny(name, "/+#"), fmt.Sprintf("the name %q is empty or holds one of / + #", name))
}

func require(ok bool, problem string) error {
	if ok {
		return nil
	}
	return errors.New(problem)
}
