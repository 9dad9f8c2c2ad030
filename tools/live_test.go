package tools_test

import (
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
)

// configured is how things are configured now.
type configured struct {
	registry *tools.Registry
	mayNot   string // a tool
	ceiling  *identity.Scopes
}

func (c *configured) Registry() *tools.Registry                { return c.registry }
func (c *configured) May(_ identity.Grant, tool string) bool   { return tool != c.mayNot }
func (c *configured) Narrowed(g identity.Grant) identity.Grant { return g.Under(c.ceiling) }

// reconfigured has a gate from before, and tools that say in the trace that they are
// the new ones. Edit changes those.
func reconfigured(t *testing.T, edit func([]tools.Tool) []tools.Tool) (*world, *configured) {
	t.Helper()
	w := newWorld(t, options{})
	now := &configured{registry: w.registry}
	w.live = now
	w.gate = w.newGate("support", w.registry.Names(), tools.Limits{})
	other := &world{now: w.now, trace: &trace{}}
	list := other.tools()
	w.trace = other.trace
	if edit != nil {
		list = edit(list)
	}
	r, err := tools.NewRegistry(list...)
	if err != nil {
		t.Fatal(err)
	}
	now.registry = r.After(w.registry, nil)
	return w, now
}

func without(name string) func([]tools.Tool) []tools.Tool {
	return func(all []tools.Tool) []tools.Tool {
		return slices.DeleteFunc(all, func(t tools.Tool) bool { return t.Name == name })
	}
}

func TestAGateFromBeforeCallsTheToolThatIsThereNow(t *testing.T) {
	w, _ := reconfigured(t, nil)

	fin := w.finished(w.bob(), call("refund", mine))

	if got := w.trace.all(); fin.Failed || !slices.Contains(got, "effect refund") {
		t.Errorf("got %v with %q, want the new tool called", fin, got)
	}
}

func TestAToolThatChangedUnderARunIsNotCalled(t *testing.T) {
	nothing := identity.NewScopes()
	for name, c := range map[string]struct {
		edit func([]tools.Tool) []tools.Tool
		now  configured
		want fault.Reason
	}{
		"gone": {without("refund"), configured{}, fault.ToolUnavailable},
		"other scopes": {func(all []tools.Tool) []tools.Tool {
			all[0].Scopes = nil
			return all
		}, configured{}, fault.ToolUnavailable},
		"not the agent's any more": {nil, configured{mayNot: "refund"}, fault.ToolUnavailable},
		"a lower ceiling":          {nil, configured{ceiling: &nothing}, fault.DelegationScope},
	} {
		t.Run(name, func(t *testing.T) {
			w, now := reconfigured(t, c.edit)
			now.mayNot, now.ceiling = c.now.mayNot, c.now.ceiling

			fin := w.finished(w.bob(), call("refund", mine))

			if got := read(t, fin).Error.Reason; !fin.Failed || got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if w.effects() > 0 {
				t.Error("it was called")
			}
			rows := w.log.Records()
			if len(rows) != 1 || rows[0].Decision != audit.Deny || rows[0].Reason != string(c.want) {
				t.Errorf("got rows %+v, want the refusal", rows)
			}
			for s, err := range w.gate.Specs(w.bob()) {
				if err != nil || s.Name == "refund" {
					t.Errorf("got %v, %v, want it offered no more", s.Name, err)
				}
			}
			if fin := w.finished(w.bob(), call("look", mine)); fin.Failed {
				t.Errorf("got %s for a tool that is what it was", fin.Result)
			}
		})
	}
}

func TestAToolThatChangesWhileItsCallIsRecordedIsNotCalled(t *testing.T) {
	nothing := identity.NewScopes()
	_, other := reconfigured(t, func(all []tools.Tool) []tools.Tool {
		all[0].Scopes = nil
		return all
	})
	for name, change := range map[string]func(*configured){
		"gone":            func(c *configured) { c.mayNot = "refund" },
		"another one":     func(c *configured) { c.registry = other.registry },
		"a lower ceiling": func(c *configured) { c.ceiling = &nothing },
	} {
		w, now := reconfigured(t, nil)
		w.sink.before = func(r *audit.Record) {
			if r.Phase == audit.Decision {
				change(now)
			}
		}

		fin := w.finished(w.bob(), call("refund", mine))

		if !fin.Failed || w.effects() > 0 {
			t.Errorf("%s: got %v with %d effects, want none", name, fin, w.effects())
		}
		if rows := w.log.Records(); len(rows) != 3 || rows[0].Decision != audit.Allow || rows[1].Decision != audit.Deny || rows[2].Outcome != string(policy.Cancelled) {
			t.Errorf("%s: got rows %+v, want it allowed, refused and cancelled", name, rows)
		}
	}
}

func TestAToolOfABackendThatWasNeverReachedIsUnavailable(t *testing.T) {
	w := newWorld(t, options{})
	w.registry = w.registry.After(nil, map[string]string{"get_invoice": "crm", "get_order": "", "not_mine": "other", "look": "crm"})
	w.gate = w.newGate("support", []string{"crm/*", "get_order", "look"}, tools.Limits{})
	for name, want := range map[string]fault.Reason{
		"get_invoice": fault.ToolUnavailable, "get_order": fault.ToolUnavailable, "not_mine": fault.ToolUnknown, "post": fault.ToolUnknown, "look": "",
	} {
		args := `{}`
		if name == "look" {
			args = mine
		}
		fin := w.finished(w.bob(), agents.ToolCall{ID: "run_1/" + name, RunID: "run_1", Name: name, Arguments: args})
		if want == "" {
			if fin.Failed {
				t.Errorf("%s: got %s, want it called", name, fin.Result)
			}
			continue
		}
		got := read(t, fin).Error
		if got.Reason != want || (want == fault.ToolUnavailable) != (got.Retry != "") {
			t.Errorf("%s: got %+v, want %s", name, got, want)
		}
	}
	if _, err := w.registry.Resolve([]string{"crm/*", "get_order"}); err != nil {
		t.Errorf("got %v, want what is awaited to mean something", err)
	}
	if _, err := w.registry.Resolve([]string{"get_ordre"}); err == nil {
		t.Error("a name that nothing stands for: got no error")
	}
}
