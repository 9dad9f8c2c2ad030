package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// world is a file system in memory where paths may also be absolute.
func world(files map[string]fs.FileMode) World {
	m := fstest.MapFS{"policies": {Mode: fs.ModeDir | 0o755}}
	for name, mode := range files {
		m[name] = &fstest.MapFile{Data: []byte("text of " + name + "\n"), Mode: mode}
	}
	env := map[string]string{"KEY": "sk-from-env", "LISTEN": "127.0.0.1:9999", "TURNS": "12", "EMPTY": ""}
	return World{
		Env:  func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Open: func(path string) (fs.File, error) { return m.Open(strings.TrimPrefix(path, "/")) },
	}
}

func exampleWorld() World {
	w := world(map[string]fs.FileMode{
		"tls/http.crt": 0o644, "tls/http.key": 0o600, "desk.yaml": 0o644,
		"prompts/billing.txt": 0o644, "audit.key": 0o600, "crm.binpb": 0o644, "exchange.pem": 0o600, "data": fs.ModeDir | 0o755,
	})
	w.Env = func(name string) (string, bool) { return "value of " + name, true }
	return w
}

func example(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("behalf.yaml", []byte(text), world(nil))
	if err != nil {
		t.Fatalf("got problems:\n%v\nwant none", err)
	}
	return c
}

func TestTheExampleLoads(t *testing.T) {
	c, err := Parse("config.example.yaml", []byte(example(t)), exampleWorld())
	if err != nil {
		t.Fatalf("got problems:\n%v", err)
	}

	if got := c.Models["default"].APIKey.Reveal(); got != "value of OPENAI_API_KEY" {
		t.Errorf("api_key: got %q", got)
	}
	if got := c.Agents["billing"].Instructions; got != "text of prompts/billing.txt" {
		t.Errorf("instructions: got %q", got)
	}
	if got, want := c.Agents["support"].Handoffs, []Handoff{{To: "billing"}}; !cmp.Equal(got, want) {
		t.Errorf("hand-offs: got %v, want %v", got, want)
	}
	if got := c.CheckServe(); len(got) != 0 {
		t.Errorf("got %v, want an example that can be served", got)
	}
	if got := c.Notes(); len(got) != 0 {
		t.Errorf("got notes %v, want none", got)
	}
}

func TestTheExampleHasEveryKey(t *testing.T) {
	text := example(t)
	walk(reflect.TypeFor[Config](), "", map[reflect.Type]bool{}, func(section, key string) {
		if !strings.Contains(text, " "+key+":") && !strings.Contains(text, "\n"+key+":") {
			t.Errorf("config.example.yaml does not show %s, a key of %s", key, section)
		}
	})
}

func TestTheManualNamesEveryKey(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for part := range strings.SplitSeq(string(data), "\n## ") {
		name, body, _ := strings.Cut(part, "\n")
		sections[name] = body
	}
	walk(reflect.TypeFor[Config](), "", map[reflect.Type]bool{}, func(section, key string) {
		if section == "" {
			if _, ok := sections[key]; !ok {
				t.Errorf("docs/configuration.md has no section %q", key)
			}
		} else if !strings.Contains(sections[section], "`"+key+"`") {
			t.Errorf("docs/configuration.md does not mention `%s` in section %q", key, section)
		}
	})
}

// walk visits the keys of a type with the section that they are in.
func walk(t reflect.Type, section string, seen map[reflect.Type]bool, visit func(section, key string)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for f := range t.Fields() {
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		visit(section, key)
		below := section
		if section == "" {
			below = key
		}
		walk(f.Type, below, seen, visit)
	}
}

const minimal = `
models: { m: { model: x } }
agents:
  a: { model: m, instructions: hi }
policy: { dir: policies }
`

func TestOmittedAndEmptyScopesDiffer(t *testing.T) {
	c := parse(t, `
models: { m: { model: x } }
agents:
  free: { model: m, instructions: hi }
  none: { model: m, instructions: hi, scopes: [] }
policy: { dir: policies }
`)

	if got := c.Agents["free"].Scopes; got != nil {
		t.Errorf("omitted: got %v, want nil", *got)
	}
	if got := c.Agents["none"].Scopes; got == nil || len(*got) != 0 {
		t.Errorf("empty: got %v, want an empty list", got)
	}
}

func TestReferencesBecomeValuesOfTheFieldsType(t *testing.T) {
	c := parse(t, `
server: { listen: "${env:LISTEN}" }
models: { m: { model: "x-${env:TURNS}" } }
agents:
  a:
    model: m
    instructions: "a $${plain} dollar"
    max_turns: ${env:TURNS}
policy: { dir: policies }
`)

	if got, want := c.Server.Listen, "127.0.0.1:9999"; got != want {
		t.Errorf("listen: got %q, want %q", got, want)
	}
	if got, want := c.Models["m"].Model, "x-12"; got != want {
		t.Errorf("model: got %q, want %q", got, want)
	}
	if got, want := c.Agents["a"].MaxTurns, 12; got != want {
		t.Errorf("max_turns: got %d, want %d", got, want)
	}
	if got, want := c.Agents["a"].Instructions, "a ${plain} dollar"; got != want {
		t.Errorf("instructions: got %q, want %q", got, want)
	}
}

func TestASecretCannotBecomeStructure(t *testing.T) {
	w := world(nil)
	w.Env = func(string) (string, bool) { return "x\nserver: { listen: 0.0.0.0:1 }\n# ", true }

	c, err := Parse("behalf.yaml", []byte(strings.Replace(minimal, "model: x", `model: x, api_key: "${env:K}"`, 1)), w)
	if err != nil {
		t.Fatal(err)
	}

	if got := c.Server.Listen; got != "127.0.0.1:8443" {
		t.Errorf("listen: got %q", got)
	}
}

func TestRelativePathsBeginAtTheFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"behalf.yaml": minimal + "audit: { witness: w/audit, key: '${file:audit.key}' }\n", "audit.key": "k"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}

	c, err := Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	got := []string{c.Policy.Dir, c.Audit.Witness, c.Store.DSN, c.Runs.Dir, c.Audit.Key.Reveal()}
	want := []string{dir + "/policies", dir + "/w/audit", "sqlite://" + dir + "/.behalf/behalf.db", dir + "/.behalf/runs", "k"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("got, want:\n%s", d)
	}
}

func TestAnOpenSecretFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "audit.key")
	if err := os.WriteFile(key, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}

	_, err := Parse("behalf.yaml", []byte(minimal+"audit: { key: '${file:audit.key}' }\n"), World{Dir: dir})

	if got := err.Error(); !strings.Contains(got, "its mode is 0644; run chmod 600") {
		t.Errorf("got %v", got)
	}
}

func TestThePlaceOfAValueCanBeAsked(t *testing.T) {
	c := parse(t, minimal)

	for path, want := range map[string][2]int{"agents.a.model": {4, 15}, "agents.a": {4, 3}, "agents.a.tools[3]": {4, 3}, "nothing": {0, 0}} {
		line, column := c.Position(path)
		if got := [2]int{line, column}; got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestTheRevisionIsOfTheDataNotOfTheText(t *testing.T) {
	a := parse(t, minimal)
	b := parse(t, "# a comment\n"+minimal)
	c := parse(t, strings.Replace(minimal, "instructions: hi", "instructions: hi, scopes: []", 1))

	if a.Revision() != b.Revision() {
		t.Error("a comment changes the revision")
	}
	if a.Revision() == c.Revision() {
		t.Error("an empty list of scopes does not change the revision")
	}
}

func TestAFileThatIsNotThereIsAProblem(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "behalf.yaml"), nil)

	if got := problems(t, err); len(got) != 1 || !strings.Contains(got[0].Message, "cannot be read") {
		t.Errorf("got %v", got)
	}
}

func TestTheSupportDeskLoads(t *testing.T) {
	c, err := Load("../examples/supportdesk/behalf.yaml", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	if got := c.CheckServe(); len(got) == 0 {
		t.Error("got none, want problems: it has no identity, which only dev and demo add")
	}
}
