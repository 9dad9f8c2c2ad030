package tools_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools"
)

func described(name, set string) tools.Tool {
	t := raw(name, "", says(`1`))
	t.Toolset = set
	return t
}

func TestARegistryReportsAllProblemsAtOnce(t *testing.T) {
	bad := func(change func(*tools.Tool)) tools.Tool {
		x := described("fine", "crm")
		change(&x)
		return x
	}
	for want, tool := range map[string]tools.Tool{
		`the name must match`:       bad(func(x *tools.Tool) { x.Name = "Get-Customer" }),
		`toolset "a/b" must match`:  bad(func(x *tools.Tool) { x.Toolset = "a/b" }),
		`effect "delete" is not`:    bad(func(x *tools.Tool) { x.Effect = "delete" }),
		`risk "extreme" is not`:     bad(func(x *tools.Tool) { x.Risk = "extreme" }),
		`a scope is empty`:          bad(func(x *tools.Tool) { x.Scopes = []string{""} }),
		`nothing is behind it`:      bad(func(x *tools.Tool) { x.Call = nil }),
		`owner "role" of parameter`: bad(func(x *tools.Tool) { x.Owners = map[string]tools.Owner{"a": "role"} }),
		`is not a string parameter`: bad(func(x *tools.Tool) { x.Owners = map[string]tools.Owner{"a": tools.OwnerTenant} }),
		`schema must be of "type"`:  bad(func(x *tools.Tool) { x.Schema = json.RawMessage(`{}`) }),
	} {
		if _, err := tools.NewRegistry(tool); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}

	_, err := tools.NewRegistry(described("A", "x"), described("twice", "x"), described("twice", "y"), described("", "x"))

	for _, want := range []string{`tool "A"`, `taken by toolset "x" and by "y"`, `tool ""`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestReferences(t *testing.T) {
	r, err := tools.NewRegistry(described("b", "crm"), described("a", "crm"), described("c", "desk"), described("d", ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ refs, want string }{
		{"", ""}, {"a", "a"}, {"crm/*", "a b"}, {"c crm/* a", "a b c"}, {"d", "d"},
	} {
		got, err := r.Resolve(strings.Fields(tc.refs))
		if err != nil || !slices.Equal(got, strings.Fields(tc.want)) {
			t.Errorf("%q: got %v and %v, want %q", tc.refs, got, err, tc.want)
		}
	}
	for _, ref := range []string{"*", "/*", "crm", "crm/a", "none/*", "A", "", "crm/*/*", "*/*"} {
		if got, err := r.Resolve([]string{ref}); err == nil {
			t.Errorf("%q means %v", ref, got)
		}
	}
	if _, err := r.Resolve([]string{"x", "y/*"}); err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"y/*"`) {
		t.Errorf("got %v, want both references in it", err)
	}
}

func TestWhatIsNotDeclaredReadIsAWrite(t *testing.T) {
	r, err := tools.NewRegistry(described("a", ""))
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := r.Descriptor("a"); !ok || d.Effect != tools.Write || d.Risk != "low" {
		t.Errorf("got %+v", d)
	}
}

func TestARegistryNamesWhatIsOtherThanBefore(t *testing.T) {
	before, err := tools.NewRegistry(described("same", ""), described("other", ""), described("gone", ""))
	if err != nil {
		t.Fatal(err)
	}
	changed := described("other", "")
	changed.Description = "Does something else."
	now, err := tools.NewRegistry(described("same", ""), changed, described("fresh", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := now.Changes(before); !slices.Equal(got, []string{"+fresh", "-gone", "~other"}) {
		t.Errorf("got %q", got)
	}
}

func TestPolicySeesTheSchemasInForce(t *testing.T) {
	r, err := tools.NewRegistry(described("b", "crm"), described("a", "crm"))
	if err != nil {
		t.Fatal(err)
	}
	got := r.Schemas()
	if len(got) != 2 || got[0].Name != "a" || got[0].Toolset != "crm" || !strings.Contains(string(got[0].Schema), `"additionalProperties":false`) {
		t.Errorf("got %+v", got)
	}
}

func TestAGateNeedsItsParts(t *testing.T) {
	w := newWorld(t, options{})
	for name, c := range map[string]tools.GateConfig{
		"registry":  {Guard: w.guard, Journal: w.log, Agent: "a"},
		"guard":     {Registry: w.registry, Journal: w.log, Agent: "a"},
		"journal":   {Registry: w.registry, Guard: w.guard, Agent: "a"},
		"reference": {Registry: w.registry, Guard: w.guard, Journal: w.log, Agent: "a", Tools: []string{"nope"}},
	} {
		if _, err := tools.NewGate(c); err == nil {
			t.Errorf("%s: a gate without it, or with a bad one", name)
		}
	}
}

// TestWhatABackendNamesStopsNothing: what the operator named goes first, and of two
// backends neither has the name, in whatever order they come.
func TestWhatABackendNamesStopsNothing(t *testing.T) {
	offered := func(name, set string) tools.Tool {
		x := described(name, set)
		x.Offered = true
		return x
	}
	owned := offered("owned", "a")
	owned.Owners = map[string]tools.Owner{"a": tools.OwnerTenant} // of which there is no parameter
	all := []tools.Tool{
		offered("mine", "a"), described("mine", "desk"), offered("both", "b"), offered("both", "a"),
		offered("twice", "b"), offered("twice", "b"), offered("Not-A-Name", "a"), owned, offered("fine", "a"),
	}
	for range 2 {
		r, err := tools.NewRegistry(all...)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Names(); !slices.Equal(got, []string{"fine", "mine"}) {
			t.Errorf("got %v", got)
		}
		if d, _ := r.Descriptor("mine"); d.Toolset != "desk" {
			t.Errorf("got the tool of %s, want the operator's", d.Toolset)
		}
		var left []string
		for _, l := range r.Left() {
			left = append(left, l.Toolset+"/"+l.Name)
		}
		if want := []string{"a/Not-A-Name", "a/both", "a/mine", "a/owned", "b/both", "b/twice", "b/twice"}; !slices.Equal(left, want) {
			t.Errorf("got %v left out, want %v", left, want)
		}
		slices.Reverse(all)
	}
}
