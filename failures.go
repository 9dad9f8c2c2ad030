package behalf

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

// failures are the last causes of tools that failed. A model may repeat a call that
// fails as often as it likes: the operator reads of one cause every few seconds.
type failures struct {
	mu   sync.Mutex
	last map[string]failure // by tool
}

type failure struct {
	cause   string
	at      time.Time
	leftOut int // not told since
}

const (
	failedAgain  = 10 * time.Second // until the same cause is told again
	mostFailures = 1000             // tools that are remembered
)

// news reports whether a failure is to be told, and how many like it were not.
func (f *failures) news(tool, cause string, now time.Time) (leftOut int, tell bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.last[tool]
	if was.cause == cause && now.Sub(was.at) < failedAgain {
		was.leftOut++
		f.last[tool] = was
		return 0, false
	}
	if f.last == nil || len(f.last) >= mostFailures {
		f.last = map[string]failure{}
	}
	f.last[tool] = failure{cause: cause, at: now}
	return was.leftOut, true
}

// reportTool tells the operator why a call failed: what its caller was told, and the
// cause, which may be a backend's text.
func (s *Server) reportTool(ctx context.Context, tool string, err error) {
	what, cause, why := err.Error(), "", ""
	switch f, ok := errors.AsType[*fault.Error](err); {
	case !ok:
		if inner := errors.Unwrap(err); inner != nil { // behind the call's id
			err = inner
		}
		cause = err.Error()
		what = strings.TrimSuffix(what, cause)
	case f.Err != nil:
		what, cause, why = strings.TrimSuffix(what, ": "+f.Err.Error()), f.Err.Error(), f.Message
	default:
		why = f.Message
	}
	leftOut, tell := s.failures.news(tool, why+cause, s.opt.now())
	if !tell {
		return
	}
	g, _ := identity.FromContext(ctx)
	s.opt.log.WarnContext(ctx, "tool failed", slog.String("tool", tool), slog.String("agent", g.Agent()),
		slog.String("what", tools.Clean(what, mostCause)), slog.String("cause", tools.Clean(cause, mostCause)), slog.Int("left_out", leftOut))
}

// mostCause bounds what a log line has of a cause, in bytes.
const mostCause = 4 << 10

// oneLine is an error for a log, on one line and not too long.
func oneLine(err error) string {
	if err == nil {
		return "it was slow"
	}
	return tools.Clean(strings.ReplaceAll(err.Error(), "\n", "; "), 2<<10)
}
