package behalf_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
)

// fileBlock is a block that a page says is a file.
var fileBlock = regexp.MustCompile("(?s)<!-- file: (\\S+) -->\n```\\w+\n(.*?)```")

// writeFiles writes the files that a page shows below a new folder.
func writeFiles(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	found := fileBlock.FindAllStringSubmatch(page(t, name), -1)
	if want := strings.Count(page(t, name), "<!-- file: "); len(found) != want || want == 0 {
		t.Fatalf("%s has %d marks of files but %d blocks after them", name, want, len(found))
	}
	for _, m := range found {
		write(t, filepath.Join(dir, m[1]), m[2])
	}
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runFiles checks the files that pages show with the program.
func runFiles(t *testing.T, program string) {
	for name, cases := range map[string]string{"docs/policies.md": "4", "docs/operating.md": "5"} {
		t.Run(name, func(t *testing.T) {
			dir := writeFiles(t, name)
			file := filepath.Join(dir, "behalf.yaml")
			write(t, file, `models: { default: { demo: rules.yaml } }
tools: { desk: { builtin: supportdesk } }
agents: { desk: { model: default, instructions: Help., tools: [desk/*], scopes: [crm.read] } }
policy: { dir: policies }
`)
			write(t, filepath.Join(dir, "rules.yaml"), "rules: [{ text: hello }]\n")
			must(t, program, cases+" cases, 0 failed", "policy", "test", "-c", file)
		})
	}
	t.Run("docs/backends.md", func(t *testing.T) {
		dir := writeFiles(t, "docs/backends.md")
		if err := os.CopyFS(dir, os.DirFS("examples/supportdesk")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "own.yaml")
		write(t, file, strings.Replace(page(t, "examples/supportdesk/behalf.yaml"), "\ntools:\n", "\ntools:\n"+page(t, filepath.Join(dir, "mine.yaml")), 1))
		must(t, program, "16 policies are fine", "policy", "check", "-c", file)
	})
	t.Run("docs/local.md", func(t *testing.T) {
		file := filepath.Join(writeFiles(t, "docs/local.md"), "desk", "behalf.yaml")
		must(t, program, "helper +crm.read +get_customer", "config", "check", "-c", file)
		must(t, program, "3 policies are fine", "policy", "check", "-c", file)
	})
}

// must runs the program and looks for a pattern in what it prints.
func must(t *testing.T, program, want string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, args...)
	c.Env = offline()
	out, err := c.CombinedOutput()
	if err != nil || !regexp.MustCompile(want).Match(out) {
		t.Errorf("behalf %s: %v, want %q in:\n%s", strings.Join(args, " "), err, want, out)
	}
}

func TestThePolicyPageNamesEveryAction(t *testing.T) {
	text := page(t, "docs/policies.md")
	names := []string{policy.ActionCallTool, policy.ActionActForOther, policy.ActionDecideApproval, policy.ActionJoinSession, policy.ActionRunOffline}
	for name := range interceptors.Actions() {
		names = append(names, name)
	}
	for _, name := range names {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/policies.md does not name the action %s", name)
		}
	}
}

// failureParts are the parts of which the operator's guide says what happens when
// they are killed, full, slow and written half.
var failureParts = []string{"store", "witness", "journal", "run log", "JWKS", "model", "policy folder"}

func TestEveryFailureInTheGuideIsShownByATestThatThereIs(t *testing.T) {
	there := testNames(t)
	faults := map[string]string{}
	_, section, _ := strings.Cut(page(t, "docs/operating.md"), "\n## When something fails\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || strings.HasPrefix(line, "| part") || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		part, what := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		faults[part] += " " + what
		shown := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(cells[5], -1)
		if len(shown) == 0 || strings.TrimSpace(cells[4]) == "" {
			t.Errorf("%s, %s: says not what the server does, or names no test", part, what)
		}
		for _, m := range shown {
			if !there[m[1]] {
				t.Errorf("%s, %s: there is no %s", part, what, m[1])
			}
		}
	}
	for _, part := range failureParts {
		for _, fault := range []string{"killed", "full", "slow", "written half"} {
			if !strings.Contains(faults[part], fault) {
				t.Errorf("the guide does not say what happens when the %s is %s", part, fault)
			}
		}
	}
	if rows < 4*len(failureParts) {
		t.Errorf("found %d rows: is it still a table?", rows)
	}
}

// TestEveryLimitInTheGuideIsTheConfigsAndShownByATest holds the table of limits
// against the keys that there are, what they take, and the tests that there are.
func TestEveryLimitInTheGuideIsTheConfigsAndShownByATest(t *testing.T) {
	there, caps := testNames(t), limitCaps()
	_, section, _ := strings.Cut(page(t, "docs/operating.md"), "\n## Limits\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || strings.HasPrefix(line, "| limit") || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		what, key, most := strings.TrimSpace(cells[1]), strings.Trim(cells[2], " `"), strings.TrimSpace(cells[4])
		if limit, ok := caps[key]; key != "" && (!ok || limit != most) {
			t.Errorf("%s: the guide says that %q takes at most %q, the config %q", what, key, most, limit)
		}
		delete(caps, key)
		shown := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(cells[5], -1)
		if len(shown) == 0 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("%s: has no default, or names no test", what)
		}
		for _, m := range shown {
			if !there[m[1]] {
				t.Errorf("%s: there is no %s", what, m[1])
			}
		}
	}
	delete(caps, "server.limits.shutdown") // of the server, not of a caller
	delete(caps, "runs.offline_max")       // of a permission
	for key := range caps {
		t.Errorf("the guide's table of limits lacks %s", key)
	}
	if rows < 30 {
		t.Errorf("found %d rows: is it still a table?", rows)
	}
}

// limitCaps are the keys that bound something, with the most that they take.
func limitCaps() map[string]string {
	out := map[string]string{}
	for section, of := range map[string]reflect.Type{"server.limits.": reflect.TypeFor[config.Limits](), "runs.": reflect.TypeFor[config.Runs]()} {
		for f := range of.Fields() {
			if _, most, ok := strings.Cut(f.Tag.Get("range"), ".."); ok {
				out[section+f.Tag.Get("yaml")] = most
			}
		}
	}
	return out
}

// testNames are those of all tests of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(page(t, path), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
