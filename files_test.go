package behalf_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
)

const plain = `
models: { m: { demo: rules.yaml } }
agents: { a: { model: m, instructions: Help., scopes: [] } }
policy: { dir: policies }
`

// plainDir is a folder with a config that ends with more.
func plainDir(t *testing.T, more string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"behalf.yaml": plain + more, "rules.yaml": "rules: [{ text: hi }]", "audit.key": "no key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNothingIsMadeOrStartedBeforeAllCanBeOpened(t *testing.T) {
	for name, row := range map[string]struct{ more, want string }{
		"a witness in no folder": {"audit: { witness: gone/witness }", "behalf.yaml:5:19: audit.witness: the folder DIR/gone is not there; create it, or name another place"},
		"a journal in no folder": {"audit: { on_unavailable: journal, journal: gone/journal }", "behalf.yaml:5:44: audit.journal: the folder DIR/gone is not there; create it, or name another place"},
		"a witness that is none": {"audit: { witness: policies }", "behalf.yaml:5:19: audit.witness: DIR/policies is not a file; name another place"},
		"a key that is none":     {"audit: { key: '${file:audit.key}' }", "behalf.yaml:5:15: audit.key: audit key: want one Ed25519 key in PEM; make one with `openssl genpkey -algorithm ed25519`"},
		"a key beside the store": {"store: { dsn: 'sqlite://db' }", "behalf.yaml:5:15: store.dsn: DIR/audit.key: audit key: want one Ed25519 key in PEM; put the key back that signed the log, or move the whole folder away to begin a new log"},
		"a store below a file":   {"store: { dsn: 'sqlite://rules.yaml/db' }\nruns: { dir: rules.yaml/runs }", "behalf.yaml:5:15: store.dsn: DIR/rules.yaml is not a folder; name another place"},
		"runs below a file":      {"runs: { dir: rules.yaml/runs }", "behalf.yaml:5:14: runs.dir: DIR/rules.yaml is not a folder; name another place"},
		"a web key of nobody's":  {"server: { http: '127.0.0.1:0', http_tls: { cert: rules.yaml, key: audit.key } }", "behalf.yaml:5:32: server.http_tls: tls: failed to find any PEM data in certificate input; name a PEM certificate and the key that belongs to it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := plainDir(t, row.more)
			before := tree(t, dir)
			cfg, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
			if err != nil {
				t.Fatal(err)
			}

			_, err = behalf.New(t.Context(), cfg, behalf.WithIdentity(behalf.Identity{}))

			if err == nil || strings.ReplaceAll(err.Error(), dir+"/behalf.yaml", "behalf.yaml") != strings.ReplaceAll(row.want, "DIR", dir) {
				t.Errorf("got %v, want %s", err, row.want)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("got the files %s, want %s", after, before)
			}
		})
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(path, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestTwoToolsetsDoNotBringTheSameTools(t *testing.T) {
	dir := plainDir(t, "tools: { one: { builtin: probe }, two: { builtin: probe } }")
	cfg, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	_, _, err = behalf.Check(cfg, behalf.WithTools("probe", whoami()))

	if want := ":5:35: tools.two: brings the same tools as tools.one; keep one of them"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNobodyElseBringsTheToolsOfMemory(t *testing.T) {
	dir := plainDir(t, "tools: { notes: { builtin: memory } }")
	cfg, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	known, facts, err := behalf.Check(cfg)
	if got := strings.Join(known["notes"], " "); err != nil || got != "forget forget_all list_memories remember" || facts("forget").Reads || !facts("list_memories").Reads {
		t.Errorf("got %q, %v", got, err)
	}
	if _, _, err = behalf.Check(cfg, behalf.WithTools("memory", whoami())); err == nil || !strings.Contains(err.Error(), "under another name") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestTheRestOfABadFileIsNeverRun(t *testing.T) {
	dir := plainDir(t, "hurry: true")
	_, err := config.Load(filepath.Join(dir, "behalf.yaml"), os.LookupEnv)
	bad, ok := errors.AsType[*config.Problems](err)
	if !ok || bad.Rest == nil {
		t.Fatalf("got %v, want problems and a rest", err)
	}

	if _, _, err := behalf.Check(bad.Rest); err != nil {
		t.Errorf("got %v, want no further problem", err)
	}
	if _, err := behalf.New(t.Context(), bad.Rest); err == nil {
		t.Error("it was run")
	}
	if _, err := behalf.Policies(bad.Rest); err == nil {
		t.Error("its policies were used")
	}
}
