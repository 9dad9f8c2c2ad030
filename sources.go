package behalf

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/tools"
)

// backendsWithin is how long the start waits for backends to say what they have.
// One that is down does not stop the server.
const backendsWithin = 5 * time.Second

// source is a process that has tools, whichever protocol it speaks.
type source interface {
	Run(ctx context.Context) error       // until ctx ends; one that is down is no error
	Retire()                             // another one has replaced it: it goes on for its calls, and says nothing any more
	Tools() ([]tools.Tool, error)        // those that are known
	Read() bool                          // it has said which tools it has
	Problem() error                      // why it cannot be used now, for the operator; nil: it can
	Changed() <-chan struct{}            // Tools gives something else
	Notes() []string                     // for the operator: what is no tool and why, and what of the config does nothing
	Waiting() map[string]json.RawMessage // tools that nobody accepted yet, by name, with their schemas; nil: it is not known
}

// backends are the processes behind tools, of all snapshots. They are asked before
// there are policies, which must know the tools' arguments.
type backends struct {
	over    chan struct{} // closed to end them all
	group   sync.WaitGroup
	changed chan struct{} // holds one: some of them may have other tools than before
}

// running is a source that runs from one snapshot to the next, as long as its section
// stays what it is.
type running struct {
	source
	section config.Toolset
	files   [sha256.Size]byte  // what else it was made of
	cancel  context.CancelFunc // nil: it does not run, and is only what is known without asking
}

func newBackends() *backends {
	return &backends{over: make(chan struct{}), changed: make(chan struct{}, 1)}
}

func (b *backends) close() {
	if b != nil {
		close(b.over)
		b.group.Wait()
	}
}

// run starts a source and passes on when it has other tools. It outlives the call that
// wanted it, and knows nothing of whose that was.
func (b *backends) run(r *running) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	b.group.Go(func() { _ = r.Run(ctx) }) // a backend that is down is no error
	b.group.Go(func() {
		defer cancel()
		for {
			select {
			case <-b.over:
				return
			case <-ctx.Done():
				return
			case <-r.Changed():
			}
			select {
			case b.changed <- struct{}{}:
			default: // it is known already
			}
		}
	})
}

// retire stops sources that no snapshot in force has, when the calls that began have
// ended: a write that has begun is not cut.
func (b *backends) retire(old []*running) {
	if len(old) == 0 {
		return
	}
	for _, r := range old {
		r.Retire()
	}
	b.group.Go(func() {
		over := time.NewTimer(retireAfter)
		defer over.Stop()
		select {
		case <-over.C:
		case <-b.over:
		}
		for _, r := range old {
			r.cancel()
		}
	})
}

// retireAfter is longer than a gate lets any write take. A read that takes longer fails,
// and can be made again.
const retireAfter = 65 * time.Second

// keep takes over the sources of a snapshot whose sections are the same.
func (sn *snapshot) keep(from *snapshot) error {
	sn.sources = map[string]*running{}
	for name, r := range from.sources {
		t, here := sn.cfg.Tools[name]
		files, err := filesOf(t)
		if err != nil {
			return sn.problem("tools."+name, err.Error(), "see docs/configuration.md")
		}
		if here && r.cancel != nil && r.files == files && reflect.DeepEqual(r.section, t) {
			sn.sources[name] = r
		}
	}
	return nil
}

// begin connects to what the config names and nobody runs yet, and waits a while for
// what tools there are.
func (sn *snapshot) begin(ctx context.Context) (fresh []*running, err error) {
	for _, name := range slices.Sorted(maps.Keys(sn.cfg.Tools)) {
		t := sn.cfg.Tools[name]
		if r := sn.sources[name]; r != nil && r.cancel != nil {
			continue
		}
		src, err := sn.newSource(name, t)
		if err != nil {
			return fresh, sn.problems("tools."+name, err, "see docs/configuration.md")
		}
		if src == nil {
			continue
		}
		r := &running{source: src, section: t}
		if r.files, err = filesOf(t); err != nil {
			return fresh, sn.problem("tools."+name, err.Error(), "see docs/configuration.md")
		}
		sn.backends.run(r)
		sn.sources[name] = r
		fresh = append(fresh, r)
	}
	await(ctx, fresh)
	return fresh, nil
}

// filesOf is the digest of the files that a source is made of.
func filesOf(t config.Toolset) (sum [sha256.Size]byte, err error) {
	if t.GRPC == nil || t.GRPC.DescriptorSet == "" {
		return sum, nil
	}
	set, err := os.ReadFile(t.GRPC.DescriptorSet)
	if err != nil {
		return sum, errors.New("its descriptor_set cannot be read")
	}
	return sha256.Sum256(set), nil
}

// newSource is nil for tools that are in this process.
func (s *Server) newSource(name string, t config.Toolset) (source, error) {
	switch {
	case t.GRPC != nil:
		return s.grpcSource(name, t)
	case t.MCP != nil:
		return s.mcpSource(name, t)
	}
	return nil, nil
}

// await gives sources that have just begun some time to be read.
func await(ctx context.Context, fresh []*running) {
	ctx, cancel := context.WithTimeout(ctx, backendsWithin)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for _, src := range fresh {
		for ctx.Err() == nil && !src.Read() {
			select {
			case <-look.C:
			case <-ctx.Done():
			}
		}
	}
}

// external reports whether tools come from other processes.
func (sn *snapshot) external() bool {
	for _, t := range sn.cfg.Tools {
		if t.GRPC != nil || t.MCP != nil {
			return true
		}
	}
	return false
}

// tellBackend tells the operator if a backend is away.
func (s *Server) tellBackend(ctx context.Context, name string, src source) {
	if !src.Read() {
		s.opt.log.WarnContext(ctx, "a backend did not say what tools it has; they are unavailable until it does", slog.String("toolset", name), slog.String("why", oneLine(src.Problem())))
	}
}

// sourceTools gives the tools of a section: nil where it is not known which they are.
func (s *snapshot) sourceTools(name string) ([]tools.Tool, error) {
	src, err := s.sourceOf(name)
	if src == nil || err != nil {
		return nil, err
	}
	list, err := src.Tools()
	if err != nil {
		return nil, s.problems("tools."+name, err, "settle it under tools."+name)
	}
	if err := s.misnamed(name); err != nil {
		return nil, err
	}
	if len(list) == 0 && !src.Read() {
		return nil, nil
	}
	return append([]tools.Tool{}, list...), nil
}

// misnamed finds what the file says of tools that nobody accepted, and that seem to be
// called otherwise.
func (s *snapshot) misnamed(name string) error {
	src, ok := s.sources[name].inner().(interface{ Misnamed() map[string]string })
	if !ok {
		return nil
	}
	var found []error
	meant := src.Misnamed()
	for _, own := range slices.Sorted(maps.Keys(meant)) {
		to := oneLine(errors.New(meant[own]))
		found = append(found, s.problem("tools."+name+".tools."+own, "no such tool was accepted", "did you mean "+to+"? If not, name that one here too: { }"))
	}
	return errors.Join(found...)
}

// inner is the source itself, of whatever follows it.
func (r *running) inner() source {
	if e, ok := r.source.(*exchanging); ok {
		return e.source
	}
	return r.source
}

// problems are those of an error that may be several, each with its place.
func (s *snapshot) problems(path string, err error, fix string) error {
	var list []error
	for _, one := range flat(err) {
		list = append(list, s.problem(path, one.Error(), fix))
	}
	return errors.Join(list...)
}

// sourceOf is nil where nothing is known without asking, and nobody was asked.
func (s *snapshot) sourceOf(name string) (src source, err error) {
	if r := s.sources[name]; r != nil {
		return r, nil
	}
	if s.cfg.Flawed() {
		return nil, nil
	}
	kind, t := ".mcp", s.cfg.Tools[name]
	switch {
	case t.MCP != nil:
		src, err = s.pinned(name, t)
	case t.GRPC != nil && t.GRPC.DescriptorSet != "":
		kind = ".grpc"
		src, err = s.grpcSource(name, t)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, s.problems("tools."+name+kind, err, "see docs/configuration.md")
	}
	if s.sources == nil {
		s.sources = map[string]*running{}
	}
	s.sources[name] = &running{source: src}
	return src, nil
}
