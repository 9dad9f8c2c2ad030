package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func problems(t *testing.T, err error) []Problem {
	t.Helper()
	list, ok := errors.AsType[*Problems](err)
	if !ok || len(list.List) == 0 {
		t.Fatalf("got %v, want problems", err)
	}
	return list.List
}

// TestBadFilesHaveTheirProblems reads testdata/NAME.yaml and compares with
// testdata/NAME.problems.
func TestBadFilesHaveTheirProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v, want bad files", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := world(map[string]fs.FileMode{"open.key": 0o644, "shut.key": 0o600, "cert.pem": 0o644})

			_, err = Parse(filepath.Base(file), data, w)

			if err == nil {
				t.Fatal("got none, want problems")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".problems", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("want, got (-update writes it):\n%s", d)
	}
}

func TestEveryProblemSaysWhereAndWhatToDo(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(file, data, world(nil))
		for _, p := range problems(t, err) {
			if p.Fix == "" || p.File == "" || strings.Contains(p.Message, "\n") {
				t.Errorf("got %q, want one line with a place and what to do", p)
			}
		}
	}
}

func TestTheNearestKeyIsSuggested(t *testing.T) {
	keys := []string{"tools", "model", "scopes", "max_turns"}
	for word, want := range map[string]string{"tols": "tools", "mdoel": "model", "Scopes": "scopes", "maxturns": "max_turns", "x": "", "temperature": ""} {
		if got := typo.Meant(word, keys); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}

// rest is what can be read of a file with problems.
func rest(t *testing.T, text string) *Config {
	t.Helper()
	_, err := Parse("behalf.yaml", []byte(text), world(nil))
	list, ok := errors.AsType[*Problems](err)
	if !ok || list.Rest == nil {
		t.Fatalf("got %v, want problems and a rest", err)
	}
	return list.Rest
}

func TestTheRestOfABadFileCanBeLookedAt(t *testing.T) {
	c := rest(t, strings.Replace(desk, "tools: [refnd, gone/*]", "max_trns: 8, tools: [refnd]", 1))

	got := text(c.CheckTools(map[string][]string{"desk": {"look", "refund"}, "shop": {"buy"}}, nil))

	want := []string{`behalf.yaml:8:60: agents.shut.tools[0]: there is no tool "refnd"; did you mean refund?`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want, got:\n%s", d)
	}
}

func TestOneMistakeHasNoFollowers(t *testing.T) {
	shop := map[string][]string{"shop": {"buy"}}
	all := map[string][]string{"desk": {"look", "refund"}, "shop": {"buy"}}
	good := strings.Replace(desk, "[refnd, gone/*]", "[refund, buy]", 1)
	for name, row := range map[string]struct {
		old, new string
		known    map[string][]string
	}{
		"a toolset that cannot be read":      {"desk: { builtin: supportdesk }", "desk: supportdesk", shop},
		"a toolset with a name that is none": {"desk: { builtin", "De_sk: { builtin", shop},
		"a section that there is not":        {"tools: { desk", "toolz: { desk", shop},
		"a key with a slip":                  {"desk: { builtin", "desk: { bultin", shop},
		"tools that are no list":             {"[refund, buy]", "refund", all},
		"a tool with a name that is none":    {"[refund, buy]", "[Re-fund]", all},
	} {
		t.Run(name, func(t *testing.T) {
			c := rest(t, strings.Replace(good, row.old, row.new, 1))

			if got := text(c.CheckTools(row.known, nil)); len(got) != 0 {
				t.Errorf("got %v, want none: the file's own problem says it", got)
			}
		})
	}
}

func TestServingAsksNothingOfWhatIsSpoilt(t *testing.T) {
	c := rest(t, `
identity:
  workload:
    source: filse
    tenants: { corp.example: Acme }
    grantz: [{ id: "spiffe://corp.example/web" }]
`+minimal)

	if got := text(c.CheckServe()); len(got) != 0 {
		t.Errorf("got %v, want none: the file's own problems say it", got)
	}
	if !c.Spoilt("identity.workload.source") || c.Spoilt("identity.workload.cert") || c.Lost("agents") {
		t.Error("want the source spoilt, and nothing else")
	}
}

func TestNothingIsLeftOfAFileThatIsNoYAML(t *testing.T) {
	_, err := Parse("behalf.yaml", []byte("agents: ["), world(nil))

	if list, ok := errors.AsType[*Problems](err); !ok || list.Rest != nil {
		t.Errorf("got %v, want problems without a rest", err)
	}
}

func TestOnlySoManyProblemsAreReported(t *testing.T) {
	for name, line := range map[string]string{
		"unknown keys":   "key%d: 1\n",
		"duplicate keys": "server: {}\n# %d\n",
		"wrong names":    "agents: { a: { model: m, instructions: x, handoffs: [",
	} {
		var b strings.Builder
		for i := range 20000 {
			switch {
			case name != "wrong names":
				fmt.Fprintf(&b, line, i)
			case i == 0:
				b.WriteString(line)
			default:
				fmt.Fprintf(&b, "b%d, ", i)
			}
		}
		if name == "wrong names" {
			b.WriteString("c] } }\n")
		}

		_, err := Parse("f.yaml", []byte(b.String()), World{})

		all, ok := errors.AsType[*Problems](err)
		if !ok || len(all.List) != 101 || len(all.Error()) > 100<<10 {
			t.Fatalf("%s: got %d bytes, want 100 problems and one line for the rest", name, len(fmt.Sprint(err)))
		}
		if last := all.List[100].String(); !strings.Contains(last, "more problems at least; mend these first") {
			t.Errorf("%s: got %q at the end", name, last)
		}
	}
}
