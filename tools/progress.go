package tools

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

// Progress is how far a call has come, as its backend says.
type Progress struct {
	Done, Total float64 // Total 0: it is not known
	Message     string  // the backend's text: cleaned, bounded, and still not to be trusted
}

type progressKey struct{}

// WithProgress lets the calls made with the context tell how far they are. It is
// called from another goroutine than the call's, and must not block. The gate gives
// a call of which somebody reads the events its own, and Direct none.
func WithProgress(ctx context.Context, tell func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

// ProgressFrom gives what a tool tells its progress to; false: nobody asks.
func ProgressFrom(ctx context.Context) (tell func(Progress), ok bool) {
	tell, ok = ctx.Value(progressKey{}).(func(Progress))
	return tell, ok && tell != nil
}

const (
	maxProgressText = 256 // bytes
	// progressEvery is the least time between two events of one call: a backend may
	// tell as often as it likes.
	progressEvery = 100 * time.Millisecond
)

// telling is the newest word of a call's tool, until the gate takes it. Any goroutine
// may tell, also when the call is over; none ever waits for the gate.
type telling struct {
	mu   sync.Mutex    // of whoever tells
	last chan Progress // of one; only the gate receives
}

func (t *telling) tell(p Progress) {
	if !amount(p.Done) {
		return // it says nothing
	}
	if !amount(p.Total) {
		p.Total = 0
	}
	p.Message = clean(p.Message, maxProgressText)
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.last: // nobody took it, and it is old now
	default:
	}
	t.last <- p // there is room: only who holds mu sends
}

func amount(f float64) bool { return f >= 0 && !math.IsInf(f, 1) } // which no NaN is

// listen has the tool tell the gate how far it is. Where there are no events nobody
// hears of it: whoever made the context might be shown what is to be redacted.
func (a *attempt) listen(ctx context.Context) (context.Context, <-chan Progress) {
	if a.pass != nil {
		t := &telling{last: make(chan Progress, 1)}
		return WithProgress(ctx, t.tell), t.last
	}
	if _, asked := ProgressFrom(ctx); asked {
		ctx = WithProgress(ctx, nil)
	}
	return ctx, nil
}

// await waits for the tool's answer and shows meanwhile how far it is, the first word
// of it in any case; false when the context ended first.
func (a *attempt) await(ctx context.Context, back <-chan answer, told <-chan Progress) (answer, bool) {
	news, rest := told, (<-chan time.Time)(nil)
	for {
		select {
		case ans := <-back:
			select {
			case p := <-news:
				a.progressed(p)
			default:
			}
			return ans, true
		case <-ctx.Done():
			return answer{}, false
		case p := <-news:
			news, rest = nil, time.After(progressEvery)
			if !a.progressed(p) {
				rest = nil
				a.quit()
			}
		case <-rest:
			news, rest = told, nil
		}
	}
}

// progressed shows how far the tool is.
func (a *attempt) progressed(p Progress) bool {
	shown := agents.ToolCallProgress(p)
	if !a.permit.MayQuote() {
		shown = shown.Veiled()
	}
	return a.emit(shown)
}
