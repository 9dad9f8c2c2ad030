package behalf_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
)

// runBackends does what docs/backends.md says: dev without the backends, these as
// programs of their own, and then its commands.
func runBackends(t *testing.T, program string) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash here")
	}
	for _, addr := range []string{"127.0.0.1:8443", "127.0.0.1:8080", "127.0.0.1:9443", "127.0.0.1:9444"} {
		if !free(addr) {
			t.Skipf("somebody listens on %s, which the page uses: stop that server to run this test", addr)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dev := startDev(t, program, "--backends=false")
	var said output
	for _, block := range blocks(t, "docs/backends.md", "<!-- test: beside -->") {
		lacks(t, "dev", dev.String(), []string{": " + block})
		beside(t, bash, block, &said)
	}
	awaitText(t, &said, "crm: serving customers on 127.0.0.1:9443")
	awaitText(t, &said, "handbook: serving the handbook on 127.0.0.1:9444")
	typed := strings.Join(blocks(t, "docs/backends.md", "<!-- test: backends -->"), "")

	var out []byte
	for again := true; again; { // until behalf has found them, which a person does not notice
		out, err = script(ctx, bash, typed).CombinedOutput()
		again = err == nil && strings.Contains(string(out), "TOOL_UNAVAILABLE")
	}

	if err != nil {
		t.Errorf("the page does not run as printed: %v\n%s", err, out)
	}
	lacks(t, "the page's commands", string(out), []string{"Ines Moreau is a gold customer", "Three days in the country", "Code: Unauthenticated", "Message: the call token was not accepted", "spiffe://dev.behalf/mine", "client     spiffe://dev.behalf/behalf"})
	lacks(t, "the backends", said.String(), []string{
		"crm: get_customer for alice through triage›support, customer C-1001, decision run_", "crm: a call was refused, tool get_customer, why ",
		"handbook: read_article for alice through triage›support, decision run_",
	})
}

// beside runs a block in the background until the test ends.
func beside(t *testing.T, bash, block string, said *output) {
	t.Helper()
	c := exec.Command(bash, "-c", block)
	c.Env, c.Stdout, c.Stderr = offline(), said, said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGINT) // go run, and what it runs
		_ = c.Wait()
	})
}

func awaitText(t *testing.T, said *output, text string) {
	t.Helper()
	tick, late := time.NewTicker(20*time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for !strings.Contains(said.String(), text) {
		select {
		case <-late:
			t.Fatalf("nobody wrote %q: %s", text, said.String())
		case <-tick.C:
		}
	}
}

func TestTheBackendsPageNamesEveryClaim(t *testing.T) {
	_, table, _ := strings.Cut(page(t, "docs/backends.md"), "## What a token says")
	table, _, _ = strings.Cut(table, "**Log**")
	for f := range reflect.TypeFor[calltoken.Claims]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("docs/backends.md does not explain the claim %s", name)
		}
	}
}

// TestTheBackendsPageCompiles builds the page's Go as a program of this module.
func TestTheBackendsPageCompiles(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	m := regexp.MustCompile("(?s)<!-- go -->\n```go\n(.*?)```").FindStringSubmatch(page(t, "docs/backends.md"))
	if m == nil {
		t.Fatal("docs/backends.md shows no Go")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.go"), m[1])
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "examples", "page", "main.go"): filepath.Join(dir, "main.go")}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), string(overlay))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, "-overlay", filepath.Join(dir, "overlay.json"), "./examples/page").CombinedOutput(); err != nil {
		t.Errorf("the page's Go does not compile: %v\n%s", err, out)
	}
}
