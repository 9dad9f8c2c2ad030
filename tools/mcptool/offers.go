package mcptool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// Tools gives the server's tools as they were accepted. Nothing else that it lists is
// here, not even by name, or it could take another tool's. A name that the config gives
// to two is an error.
func (s *Source) Tools() ([]tools.Tool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.build()
}

func (s *Source) build() ([]tools.Tool, error) {
	holders, err := s.holders()
	problems := []error{err}
	var out []tools.Tool
	for _, own := range s.inUse() {
		d, err := s.pins[own].definition(own)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		t := s.c.tool(d)
		t.Offered, t.Revision = s.c.Tools[own].Name == "", d.hash
		if holders[t.Name] != own {
			continue
		}
		result := t.Result
		check := sync.OnceValues(func() (func(json.RawMessage) error, error) { return tools.CompileResult(result) })
		c := called{source: s, own: own, hash: d.hash, name: t.Name, writes: t.Effect != tools.Read, typed: d.Output != nil, check: check}
		t.Call = c.call
		out = append(out, t)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return out, nil
}

// holders say whose each name is: the tool's that the config calls so, or else the one
// that was accepted first. A server chooses its names, and would take away what is in use
// by adding another one.
func (s *Source) holders() (map[string]string, error) {
	out := map[string]string{}
	var problems []error
	for _, own := range slices.SortedFunc(slices.Values(s.inUse()), s.before) {
		name := s.c.named(own).Name
		first, taken := out[name]
		if !taken {
			out[name] = own
		} else if s.c.Tools[own].Name != "" {
			problems = append(problems, fmt.Errorf("tools %q and %q of the MCP server %q are both called %q: give one of them another name", tools.Clean(first, 64), tools.Clean(own, 64), s.c.Name, name))
		}
	}
	return out, errors.Join(problems...)
}

func (s *Source) before(a, b string) int {
	named := func(own string) int { return min(len(s.c.Tools[own].Name), 1) }
	return cmp.Or(named(b)-named(a), s.pins[a].Accepted.Compare(s.pins[b].Accepted), strings.Compare(a, b))
}

// nameless is why an accepted tool is not in use although nothing is wrong with it.
const nameless = "another tool in use has its name: give one of them a name in the config"

// inUse are the accepted tools, but for those that the server does not list any more.
func (s *Source) inUse() []string {
	var out []string
	for own := range s.pins {
		if s.listed == nil || s.listed[own] != nil {
			out = append(out, own)
		}
	}
	slices.Sort(out)
	return out
}

// signature says what Tools gives.
func (s *Source) signature() string {
	all, err := s.Tools()
	if err != nil {
		return err.Error()
	}
	var sb strings.Builder
	for i := range all {
		sb.WriteString(all[i].Hash() + all[i].Revision)
	}
	return sb.String()
}

// list reads what the server has, and what was accepted of it since. One at a time:
// what was read first is never put in the place of what was read later.
func (s *Source) list(ctx context.Context, next lister) error {
	select {
	case s.listing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.listing }()
	s.mu.Lock()
	s.began++
	this := s.began
	s.mu.Unlock()
	err := s.relist(ctx, next)
	if err == nil {
		s.mu.Lock()
		s.ended = this
		s.mu.Unlock()
	}
	return err
}

// anew has the list read after now. Where many want it, one reads for all.
func (s *Source) anew(ctx context.Context, read func() error) error {
	s.mu.Lock()
	began := s.began
	s.mu.Unlock()
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.asking }()
	s.mu.Lock()
	done := s.ended > began
	s.mu.Unlock()
	if done {
		return nil
	}
	return read()
}

func (s *Source) relist(ctx context.Context, next lister) error {
	found, err := s.c.all(ctx, next)
	if errors.Is(err, errCached) {
		return nil
	}
	if err != nil {
		return err
	}
	s.c.doubt(found)
	pins, err := s.c.Pins.Load(s.c.Name)
	if err != nil {
		return err
	}
	if s.c.TrustOnFirstUse {
		s.trust(ctx, pins, found)
	}
	s.mu.Lock()
	s.pins, s.listed, s.read = pins, found, true
	s.mu.Unlock()
	if s.trouble.Over() {
		s.warn(ctx, "an MCP server is there again", slog.String("target", s.c.target()))
	}
	s.note(ctx)
	s.tell()
	return nil
}

// reread takes what was accepted elsewhere until ctx ends. A file that cannot be read
// accepts nothing.
func (s *Source) reread(ctx context.Context) {
	for pause(ctx, s.c.Limits.Reread) {
		pins, err := s.c.Pins.Load(s.c.Name)
		s.mu.Lock()
		same := maps.EqualFunc(pins, s.pins, func(a, b Pin) bool { return a.Hash == b.Hash })
		if !same {
			s.pins = pins
		}
		s.mu.Unlock()
		if same {
			continue
		}
		if s.behind() {
			s.hear()
		}
		if err != nil {
			s.warn(ctx, "what was accepted of an MCP server cannot be read, so nothing is", slog.Any("cause", err))
		}
		s.note(ctx)
		s.tell()
	}
}

// behind reports that something was accepted which is not what was listed here: the
// server may have changed since.
func (s *Source) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for own, p := range s.pins {
		if d := s.listed[own]; d != nil && d.hash != p.Hash {
			return true
		}
	}
	return false
}

// trust accepts what was never seen, into pins that nobody else has yet. What cannot be
// kept waits for an operator, as if nothing were trusted.
func (s *Source) trust(ctx context.Context, pins map[string]Pin, found map[string]*definition) {
	fresh, now := map[string]Pin{}, s.c.Now()
	for own, d := range found {
		if _, known := pins[own]; !known && d.flaw == "" {
			fresh[own] = d.pin(now)
		}
	}
	if len(fresh) == 0 || s.retired.Load() {
		return
	}
	if err := s.c.Pins.Save(s.c.Name, fresh); err != nil {
		s.warn(ctx, "new tools of an MCP server cannot be kept, and so are not in use", slog.Any("cause", err))
		return
	}
	maps.Copy(pins, fresh)
}

// usable is why a tool cannot be called now: what is behind it must be what was
// accepted, and what the model was shown. The texts are ours alone.
func (s *Source) usable(own, hash, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, accepted := s.listed[own], s.pins[own].Hash
	order := s.c.order() + s.c.Name + "/" + name
	switch {
	case s.listed == nil:
		return unavailable("the tool's server cannot be reached now").Because(s.trouble.Err())
	case d == nil:
		return unavailable("the tool's server does not have it any more")
	case d.flaw != "":
		return unavailable("the tool cannot be governed as it is described and configured now; the log of the service says why")
	case accepted == "":
		return unavailable("the tool is new and was not accepted yet: an operator must read and accept it: `" + order + "`")
	case accepted != d.hash:
		return unavailable("the tool's description or schema has changed since it was accepted: an operator must read and accept it: `" + order + "`")
	case accepted != hash:
		return unavailable("the tool was accepted anew and is not in use yet: an operator must type `behalf reload`")
	}
	return nil
}

func unavailable(message string) *fault.Error {
	return fault.New(codes.Unavailable, fault.ToolUnavailable, message)
}

var errCached = errors.New("the list is the one that was read before")

// contentSchema is of the results of a tool that declares none.
var contentSchema = json.RawMessage(`{"type":"object","properties":{"content":{"type":"array","items":{"type":"object","properties":{` +
	`"type":{"type":"string"},"text":{"type":"string"},"uri":{"type":"string"},"name":{"type":"string"},"description":{"type":"string"},` +
	`"mime_type":{"type":"string"},"bytes":{"type":"integer"},"truncated":{"type":"boolean"}},"required":["type"],"additionalProperties":false}}},` +
	`"required":["content"],"additionalProperties":false}`)
