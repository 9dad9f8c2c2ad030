package behalf_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/behalf-dev/behalf"

// levels is the import table of the architecture: an import goes to a lower
// number, never sideways or up. A package that is not listed takes the level of
// its nearest listed parent folder and may import that parent.
var levels = map[string]int{
	"cmd/behalf": 7, "conformance": 7,
	".": 6, "examples": 6, "bench": 7, "build": 7,
	"server": 5, "server/mcpserver": 5, "store": 5,
	"runs": 4, "memory": 4,
	"tools": 3, "tools/grpctool": 3, "tools/mcptool": 3, "tools/exchange": 3, "model": 3, "interceptors": 3, "internal/wire": 3,
	"agents": 2, "agents/team": 2, "agents/agentstest": 2, "config": 2, "calltoken": 2,
	"policy": 2, "policy/lifecycle": 2, "policy/policytest": 2, "policy/engine": 2, "policy/redact": 2, "policy/arguments": 2, "policy/pii": 2,
	"identity": 1, "audit": 1,
	"fault": 0, "gen": 0, "internal/typo": 0, "internal/strictjson": 0, "internal/whole": 0, "internal/disktest": 0,
}

// rests says which listed package is built on one of its own level, which
// would be too large with it. To everybody else the two are one floor, so
// agents/team keeps the level of agents: what agents make together is as much the
// core as what one of them is. The arrow goes one way: an agent must not know in
// whose company it speaks.
//
// What tests both is on top of both.
//
// policy is the guard, which rests on the engine, and so it is the other way round:
// the parent on its child. An engine must not know that anybody acts on what it says,
// and authors' tools need no guard.
var rests = map[string][]string{
	"agents/team":       {"agents"},
	"agents/agentstest": {"agents", "agents/team"},
	"tools/grpctool":    {"tools"},
	"tools/mcptool":     {"tools"},
	"tools/exchange":    {"tools"},
	"policy":            {"policy/engine", "policy/redact", "policy/pii"},
	"policy/lifecycle":  {"policy/engine", "policy/redact", "policy/arguments"},
	"policy/policytest": {"policy/engine"},
	"policy/engine":     {"policy/redact", "policy/arguments"},
	"policy/redact":     {"policy/arguments", "policy/pii"},
}

// fences name the only folders that may import a third party. The reason is
// the same each time: what is behind a fence can be replaced in one place.
var fences = map[string][]string{
	"github.com/spiffe/go-spiffe":            {"identity"},
	"github.com/go-jose/go-jose":             {"identity", "calltoken"},
	"github.com/cedar-policy/cedar-go":       {"policy/engine", "policy/arguments"},
	"github.com/nats-io/":                    {"runs"},
	"github.com/sashabaranov/go-openai":      {"model", "bench"},
	"modernc.org/sqlite":                     {"store"},
	"github.com/jackc/pgx":                   {"store"},
	"cel.dev/cel-go":                         {"config"},
	"github.com/google/jsonschema-go":        {"tools"},
	"github.com/santhosh-tekuri/jsonschema":  {"tools"},
	"github.com/modelcontextprotocol/go-sdk": {"tools", "tools/mcptool", "server", "server/mcpserver", "examples"},
	"go.opentelemetry.io/otel":               {"interceptors", "server", "."},
	"github.com/prometheus/client_golang":    {"interceptors", "server", "."},
	"golang.org/x/oauth2":                    {"tools/exchange"},
	"google.golang.org/grpc":                 {"calltoken", "interceptors", "server", "server/mcpserver", "gen", "fault", "identity", ".", "cmd/behalf", "examples", "bench", "tools", "tools/grpctool"},
	"github.com/grpc-ecosystem/":             {"interceptors", "server"},
}

// verifierOnly are what backends of other teams would be: of behalf they have the
// verifier of call tokens and nothing else, whatever they need beside it they write
// or take from each other.
var verifierOnly = map[string][]string{
	"examples/backend":      {"calltoken"},
	"examples/crm":          {"calltoken", "examples/backend", "gen/crm/v1"},
	"examples/crm/cmd":      {"calltoken", "examples/backend", "examples/crm"},
	"examples/handbook":     {"calltoken", "examples/backend"},
	"examples/handbook/cmd": {"calltoken", "examples/backend", "examples/handbook"},
}

func TestBackendsNeedOnlyTheVerifier(t *testing.T) {
	seen := 0
	for _, p := range load(t) {
		may, ok := verifierOnly[folder(p.PkgPath)]
		if !ok {
			continue
		}
		seen++
		for imp := range p.Imports {
			if strings.HasPrefix(imp, module) && !slices.Contains(may, folder(imp)) {
				t.Errorf("%s imports %s: a backend has of behalf only %v, as one outside this repository would.", folder(p.PkgPath), folder(imp), may)
			}
		}
	}
	if seen != len(verifierOnly) {
		t.Errorf("found %d of %d backends: mend the table", seen, len(verifierOnly))
	}
}

// everywhere lists what a fence does not hold back: values without behaviour.
var everywhere = []string{"google.golang.org/grpc/codes", "google.golang.org/grpc/status"}

func TestImportsPointDown(t *testing.T) {
	for _, p := range load(t) {
		from := folder(p.PkgPath)
		for imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			to := folder(imp)
			if sameRoom(from, to) || slices.Contains(rests[room(from)], room(to)) {
				continue
			}
			if level(t, to) >= level(t, from) {
				t.Errorf("%s imports %s: level %d may only import lower levels, and %s is %d.\nMove what is needed down, or let the lower package declare the interface and the root package wire it.", from, to, level(t, from), to, level(t, to))
			}
			if (to == "store" || to == "config") && level(t, from) < 6 {
				t.Errorf("%s imports %s: only the root package wires the store and maps the config.", from, to)
			}
		}
	}
}

func TestThirdPartiesStayBehindTheirFence(t *testing.T) {
	for _, p := range load(t) {
		for imp := range p.Imports {
			for prefix, rooms := range fences {
				if strings.HasPrefix(imp, prefix) && !anyRoom(folder(p.PkgPath), rooms) && !allowedEverywhere(imp) {
					t.Errorf("%s imports %s, which lives behind the fence of %v: use that package's own types instead.", folder(p.PkgPath), imp, rooms)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range load(t) {
		dir := folder(p.PkgPath)
		if strings.HasPrefix(dir, "gen") || len(p.GoFiles) == 0 {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "doc.go")); err != nil {
			t.Errorf("%s has no doc.go: say there what the package is, what it is not, and its contract.", dir)
		}
	}
}

func TestNoInitAndOneExit(t *testing.T) {
	exits := 0
	for _, p := range load(t) {
		if strings.HasPrefix(folder(p.PkgPath), "gen") {
			continue
		}
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatalf("parse %s: %v", file, err)
			}
			exits += inspect(t, file, f)
		}
	}
	if exits > 1 {
		t.Errorf("os.Exit is called in %d places, want 1 (cmd/behalf/main.go): elsewhere it skips what was deferred.", exits)
	}
}

// binders may bind a grant to a context, and so say for whom what follows acts.
var binders = map[string]string{
	"identity":          "a child grant, which only narrows",
	"interceptors":      "the caller's, which the chain has verified",
	"runs":              "the one that a run was begun with, and its person's when they come back",
	"server":            "a conversation's, as its chain bound it, for its next turn; and of a dry run, which does nothing",
	"agents/team":       "the one that a participant was given, on the goroutine on which it speaks",
	"agents/agentstest": "of tests",
}

// makers may make a grant of a principal. Whoever is not among the binders only asks
// policy about it.
var makers = map[string]string{
	"interceptors":      "the caller's",
	"runs":              "one that the store kept",
	"server":            "of a dry run",
	".":                 "of a dry run without a server, and the record of a delegation",
	"policy":            "of a row that sums up somebody's refused calls",
	"policy/lifecycle":  "of authors' cases and of what is on record",
	"policy/policytest": "of tests",
	"agents/agentstest": "of tests",
}

// TestOnlyTheChainAndRunsSayForWhomWeAct holds SECURITY 4.1: nobody else can put
// an identity into a context.
func TestOnlyTheChainAndRunsSayForWhomWeAct(t *testing.T) {
	for name, may := range map[string]map[string]string{"WithGrant": binders, "Root": makers} {
		seen := map[string]bool{}
		for _, p := range load(t) {
			for _, file := range p.GoFiles {
				if uses(t, file, p.PkgPath == module+"/identity", name) {
					seen[folder(p.PkgPath)] = true
				}
			}
		}
		for dir := range seen {
			if may[dir] == "" && dir != "identity" {
				t.Errorf("%s calls identity.%s: only %v may. Take the grant that the context has, or a child of it.", dir, name, slices.Sorted(maps.Keys(may)))
			}
		}
		for dir := range may {
			if !seen[dir] {
				t.Errorf("%s does not call identity.%s any more: take it from the list.", dir, name)
			}
		}
	}
}

// uses reports whether a file names identity's function, as its value or to call it.
func uses(t *testing.T, file string, own bool, name string) (found bool) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("parse %s: %v", file, err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			found = found || ok && x.Name == "identity" && n.Sel.Name == name
		case *ast.CallExpr:
			id, ok := n.Fun.(*ast.Ident)
			found = found || own && ok && id.Name == name
		case *ast.ImportSpec:
			if n.Path.Value == `"`+module+`/identity"` && n.Name != nil {
				t.Errorf("%s imports identity under another name, which hides who uses what of it", file)
			}
		}
		return true
	})
	return found
}

func inspect(t *testing.T, file string, f *ast.File) (exits int) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				t.Errorf("%s has an init function: what runs before main cannot be ordered, configured or tested.", file)
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "os" && n.Sel.Name == "Exit" {
				exits++
			}
		}
		return true
	})
	return exits
}

func load(t *testing.T) []*packages.Package {
	t.Helper()
	ps, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedImports | packages.NeedFiles}, "./...")
	if err != nil {
		t.Fatalf("load packages: %v", err)
	}
	return ps
}

func folder(path string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	if rest == "" {
		return "."
	}
	return rest
}

func level(t *testing.T, dir string) int {
	t.Helper()
	n, ok := levels[room(dir)]
	if !ok {
		t.Fatalf("package %s is not in the table of arch_test.go: a new package is a decision, so add its level and say why in the commit.", dir)
	}
	return n
}

// room is the nearest listed folder of dir.
func room(dir string) string {
	for dir != "." {
		if _, ok := levels[dir]; ok {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == "." {
			return dir
		}
		dir = parent
	}
	return dir
}

func sameRoom(a, b string) bool { return room(a) == room(b) }

func anyRoom(dir string, rooms []string) bool {
	for _, r := range rooms {
		if room(dir) == r {
			return true
		}
	}
	return false
}

func allowedEverywhere(imp string) bool {
	for _, e := range everywhere {
		if imp == e {
			return true
		}
	}
	return false
}
