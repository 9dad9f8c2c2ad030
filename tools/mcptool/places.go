package mcptool

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// places are the connections that calls may take of a server that takes one request
// at a time on each. Some are left for what is in nobody's name, or the tools of all
// would be away while a few people wait.
type places struct {
	most, share int // of all, of one person
	patience    time.Duration
	wide        atomic.Bool // the server takes many requests on a connection: nobody waits

	mu    sync.Mutex
	taken map[string]int
	all   int
	freed chan struct{} // closed when somebody left
}

func newPlaces(l Limits) *places {
	most := max(1, l.Connection-max(2, l.Connection/4))
	return &places{most: most, share: max(1, most/24), patience: l.Connect, taken: map[string]int{}, freed: make(chan struct{})}
}

var errBusy = fault.New(codes.Unavailable, fault.ToolUnavailable, "the tool's server is busy with other calls, and nothing was done; try again").RetryIn(time.Second)

// take waits for a place until others have had time to leave.
func (p *places) take(ctx context.Context, who string) (leave func(), err error) {
	if p.wide.Load() {
		return func() {}, nil
	}
	limit := time.NewTimer(p.patience)
	defer limit.Stop()
	for {
		freed := p.enter(who)
		if freed == nil {
			return sync.OnceFunc(func() { p.leave(who) }), nil
		}
		select {
		case <-freed:
		case <-limit.C:
			return nil, errBusy
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// enter takes a place; or says what to wait for.
func (p *places) enter(who string) (freed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= p.most || p.taken[who] >= p.share {
		return p.freed
	}
	p.all++
	p.taken[who]++
	return nil
}

func (p *places) leave(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.taken[who]--; p.taken[who] == 0 {
		delete(p.taken, who)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}

// saw notes what a server speaks.
func (p *places) saw(resp *http.Response) { p.wide.Store(resp.ProtoMajor >= 2) }
