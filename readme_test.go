package behalf_test

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
)

// devMark stands before each shell block of README.md that runs as it is
// printed, in this folder, beside `behalf dev`.
const devMark = "<!-- test: dev -->"

// TestDocsTellTheTruthAboutTheProgram builds the program once for all that asks it.
func TestDocsTellTheTruthAboutTheProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and grpcurl")
	}
	program := build(t)
	t.Run("the README runs as printed", func(t *testing.T) { runReadme(t, program) })
	t.Run("the backends' page runs as printed", func(t *testing.T) { runBackends(t, program) })
	t.Run("the commands that pages name exist", func(t *testing.T) { askForCommands(t, program) })
	t.Run("the files that pages show are accepted", func(t *testing.T) { runFiles(t, program) })
	t.Run("the full config form only lacks its files", func(t *testing.T) { checkExample(t, program) })
}

// runReadme starts `behalf dev` in this folder, as the page says, and runs the
// marked blocks.
func runReadme(t *testing.T, program string) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash here")
	}
	for _, addr := range []string{"127.0.0.1:8443", "127.0.0.1:8080"} {
		if !free(addr) {
			t.Skipf("somebody listens on %s, which the README uses: stop that server to run this test", addr)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	said := startDev(t, program)
	want := []string{
		"behalf.v1.AgentService", `"subject": "alice"`, "ERROR_REASON_POLICY_DENIED", "large-refunds-need-a-manager",
		`\"ssn\":\"[redacted]\"`, `"resultJson": "{\"name\":\"Ada\",\"ssn\":\"[redacted]\"}"`, `"delegationChain"`, `"textDelta"`, "✓ allowed refund_order", "rows, unbroken", `\"best\":\"refunds\"`, "the call token was not accepted", "15 policies are fine", "0 failed",
		`"name":"agent-triage"`, `"structuredContent":{"customer_id":"C-1001"`, "(ARGUMENT_INVALID)", `"text":"Three days in the country`, "\n401\n",
	}
	var all bytes.Buffer
	typed := slices.Concat(blocks(t, "README.md", devMark), blocks(t, "docs/elsewhere.md", devMark), blocks(t, "docs/mcp.md", devMark))
	for i, block := range append(typed, banner(t, said.String())) {
		out, err := script(ctx, bash, block).CombinedOutput()
		all.Write(out)
		if err != nil {
			t.Errorf("block %d does not run as printed: %v\n%s\n%s", i+1, err, block, out)
		}
	}
	lacks(t, "the README's commands", all.String(), want)
	lacks(t, "dev", said.String(), []string{
		"handbook: search_articles for alice directly, decision ", "crm: get_customer for alice directly, customer C-1001, decision ",
		"crm: get_customer for alice through triage›billing, customer C-1001, decision ", "crm: a call was refused, tool get_customer, why ",
	})
}

func lacks(t *testing.T, what, out string, want []string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("the output of %s lacks %q:\n%s", what, w, out)
		}
	}
}

// banner are the lines that dev prints to be typed.
func banner(t *testing.T, out string) string {
	t.Helper()
	_, rest, found := strings.Cut(out, "Paste these into another terminal")
	var typed []string
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "  ") {
			typed = append(typed, strings.TrimPrefix(line, "  "))
		}
	}
	if !found || len(typed) < 10 {
		t.Fatalf("dev prints nothing to type: %s", out)
	}
	return strings.Join(typed, "")
}

func free(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// script runs a block as bash would if it were typed, and stops at what fails.
func script(ctx context.Context, bash, text string) *exec.Cmd {
	c := exec.CommandContext(ctx, bash, "-eu", "-o", "pipefail", "-c", text)
	c.Env = offline()
	c.WaitDelay = 5 * time.Second
	return c
}

// offline is the environment without a real model.
func offline() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "OPENAI_") || strings.HasPrefix(kv, "BEHALF_")
	})
}

// startDev starts dev with its own defaults and waits until it listens. It
// leaves a .behalf alone that is not its own. What it writes grows.
func startDev(t *testing.T, program string, args ...string) *output {
	t.Helper()
	if _, err := os.Stat(".behalf"); err == nil {
		t.Skip("a .behalf folder is here already: the README's lines would write to your audit log; move it away to run this")
	} else {
		t.Cleanup(func() { _ = os.RemoveAll(".behalf") })
	}
	out, log := &output{}, &output{}
	c := exec.Command(program, append([]string{"dev"}, args...)...)
	c.Env, c.Stdout, c.Stderr = offline(), out, log
	if err := c.Start(); err != nil {
		t.Fatalf("start dev: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }() // ends with the process, which the clean-up stops
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
		defer late.Stop()
		if err, ok := <-ended; ok && err != nil {
			t.Errorf("dev did not stop cleanly: %v\n%s%s", err, out.String(), log.String())
		}
	})
	tick, late := time.NewTicker(20*time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for !strings.Contains(out.String(), "Ctrl-C stops it") {
		select {
		case err := <-ended:
			close(ended)
			t.Fatalf("dev ended at once: %v\n%s%s", err, out.String(), log.String())
		case <-late:
			t.Fatal("dev did not come up in 30 s")
		case <-tick.C:
		}
	}
	return out
}

// output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func build(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	program := filepath.Join(t.TempDir(), "behalf")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/behalf").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return program
}

// blocks are the shell blocks of README.md right after mark.
func blocks(t *testing.T, name, mark string) []string {
	t.Helper()
	marked := regexp.MustCompile("(?s)" + regexp.QuoteMeta(mark) + "\n```sh\n(.*?)```")
	var out []string
	for _, m := range marked.FindAllStringSubmatch(page(t, name), -1) {
		out = append(out, m[1])
	}
	if want := strings.Count(page(t, name), mark); len(out) != want || want == 0 {
		t.Fatalf("%s has %d marks %q but %d blocks after them", name, want, mark, len(out))
	}
	return out
}

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages are README.md and everything under docs.
func pages(t *testing.T) []string {
	t.Helper()
	out := []string{"README.md"}
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence   = regexp.MustCompile("(?s)```.*?```")
	command = regexp.MustCompile("(?:go run \\./cmd/behalf|`behalf) ([a-z][a-z|]*)(?: ([a-z][a-z|]*))?")
)

func TestLinksInTheDocsLeadSomewhere(t *testing.T) {
	for _, name := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(page(t, name), ""), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}

// askForCommands asks the program for the help of each command that a page names.
func askForCommands(t *testing.T, program string) {
	seen := map[string]bool{}
	for _, name := range pages(t) {
		for _, m := range command.FindAllStringSubmatch(page(t, name), -1) {
			for _, words := range commands(m[1], m[2]) {
				if seen[words] {
					continue
				}
				seen[words] = true
				out, err := exec.CommandContext(t.Context(), program, append(strings.Fields(words), "--help")...).CombinedOutput()
				if err != nil || !bytes.Contains(out, []byte("\n  behalf "+words)) {
					t.Errorf("%s names `behalf %s`, which is no command: %v", name, words, err)
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("found only %d commands in the docs; the pattern does not fit them any more", len(seen))
	}
}

// commands are the commands that "audit query|verify" or "run triage" means:
// only groups have a second word that is a command.
func commands(first, second string) []string {
	var out []string
	for f := range strings.SplitSeq(first, "|") {
		if !slices.Contains([]string{"audit", "policy", "config", "runs", "tools", "dev"}, f) || second == "" {
			out = append(out, f)
			continue
		}
		for s := range strings.SplitSeq(second, "|") {
			out = append(out, f+" "+s)
		}
	}
	return out
}

// TestReadmesAgentIsAccepted reads the page's behalf.yaml, with what it leaves
// out around it.
func TestReadmesAgentIsAccepted(t *testing.T) {
	m := regexp.MustCompile("(?s)```yaml\n(agents:\n.*?)```").FindStringSubmatch(page(t, "README.md"))
	if m == nil {
		t.Fatal("README.md shows no agent")
	}
	file := m[1] + `  billing: { model: default, instructions: Help., scopes: [orders.refund] }
models: { default: { demo: examples/supportdesk/desk.yaml } }
tools: { desk: { builtin: supportdesk } }
policy: { dir: examples/supportdesk/policies }
`
	if _, err := config.Parse("README.md", []byte(file), config.World{Dir: ".", Env: os.LookupEnv}); err != nil {
		t.Errorf("the agent of README.md is not accepted:\n%v\n%s", err, file)
	}
}

// TestReadmesToolSourcesAreAccepted reads the page's tool sources, with an agent that
// uses them.
func TestReadmesToolSourcesAreAccepted(t *testing.T) {
	m := regexp.MustCompile("(?s)```yaml\n(tools:\n.*?)```").FindStringSubmatch(page(t, "README.md"))
	if m == nil {
		t.Fatal("README.md shows no tool source")
	}
	file := m[1] + `agents: { support: { model: default, instructions: Help., tools: [desk/*, handbook/*], scopes: [crm.read] } }
models: { default: { demo: examples/supportdesk/desk.yaml } }
policy: { dir: examples/supportdesk/policies }
`
	if _, err := config.Parse("README.md", []byte(file), config.World{Dir: ".", Env: os.LookupEnv}); err != nil {
		t.Errorf("the tool sources of README.md are not accepted:\n%v\n%s", err, file)
	}
}

// TestReadmesPoliciesAreTheDesks holds the page's policies against those that
// the tests of the desk run.
func TestReadmesPoliciesAreTheDesks(t *testing.T) {
	m := regexp.MustCompile("(?s)```cedar\n(.*?)```").FindStringSubmatch(page(t, "README.md"))
	if m == nil {
		t.Fatal("README.md shows no policy")
	}
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	desk := flat(page(t, "examples/supportdesk/policies/desk.cedar"))
	for one := range strings.SplitSeq(strings.TrimSpace(m[1]), "\n\n") {
		if !strings.Contains(desk, flat(one)) {
			t.Errorf("README.md shows a policy that the support desk does not have:\n%s", one)
		}
	}
}

// checkExample holds that what is wrong with the full form here is only that the
// files and variables that it names are elsewhere.
func checkExample(t *testing.T, program string) {
	c := exec.CommandContext(t.Context(), program, "config", "check", "-c", "config.example.yaml")
	c.Env = offline()
	out, err := c.CombinedOutput()
	if err == nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		known := strings.Contains(line, "nothing was started") || strings.Contains(line, "cannot be read") || strings.Contains(line, "is not set")
		if !known {
			t.Errorf("config check of config.example.yaml says more than which files and variables are missing:\n%s", line)
		}
	}
}
