package mcptool_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/mcptool"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// play is what this binary does when a test starts it as another program.
func play(role string) int {
	if role == "parent" {
		return parent()
	}
	if role == "plain" {
		return plain()
	}
	b := newBackend()
	b.raw("env", "The environment.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		dir, _ := os.Getwd()
		env := os.Environ()
		slices.Sort(env)
		return text(strings.Join(env, " ") + " in " + dir), nil
	})
	b.raw("die", "Dies.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		os.Exit(3) //nolint:forbidigo // the program of a test
		return nil, errors.New("alive")
	})
	b.raw("family", "Its own and a child's number.", `{"type":"object"}`, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		c := exec.Command("/bin/sleep", "300") //nolint:noctx // it is to outlive the call
		if err := c.Start(); err != nil {
			return nil, err
		}
		return text(fmt.Sprint(os.Getpid(), " ", c.Process.Pid)), nil
	})
	fmt.Fprintln(os.Stderr, "starting\x1b[31m")
	if role == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stdout, "Welcome to this server!")
		fmt.Fprintln(os.Stdout, "{not json")
	}
	if err := b.Run(context.Background(), &mcp.StdioTransport{}); err != nil && role != "stubborn" {
		return 1
	}
	if role == "stubborn" {
		select {}
	}
	return 0
}

func command(t testing.TB, role string) mcptool.Config {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return mcptool.Config{Name: "local", Command: []string{exe}, Env: map[string]identity.Secret{"MCPTOOL_TEST_ROLE": identity.NewSecret(role)}, TrustOnFirstUse: true}
}

func TestAProgramGetsWhatTheConfigSaysAndNoMore(t *testing.T) {
	t.Setenv("SECRET_OF_OURS", "canary")
	c := command(t, "server")
	c.Dir = t.TempDir()
	w := newWorld(t, c).open("env")

	got := w.bob("env", `{}`)

	want(t, got, `"MCPTOOL_TEST_ROLE=server in `+c.Dir+`"`)
	w.told("starting[31m")
	without(t, w.logs.String(), "\x1b")
}

func TestAProgramThatDiesIsStartedAgain(t *testing.T) {
	c := command(t, "server")
	w := newWorld(t, c).open("die")

	reason, got := w.fails("die", `{}`)

	if reason != fault.OutcomeUnknown {
		t.Errorf("got %s, want that nobody knows what it did", got)
	}
	w.until("it is back", func() bool {
		f := w.call(as(t.Context(), "bob"), "say_hello", `{"name":"bob"}`)
		return !f.Failed
	})
}

func TestAProgramDoesNotOutliveItsSource(t *testing.T) {
	for _, role := range []string{"server", "stubborn"} {
		t.Run(role, func(t *testing.T) {
			var pids []int
			t.Run("run", func(t *testing.T) {
				w := newWorld(t, command(t, role)).open("family")
				pids = numbers(t, w.bob("family", `{}`))
			})
			for _, pid := range pids {
				gone(t, pid)
			}
		})
	}
}

// parent is a process that has a program and says its number, until it is killed.
func parent() int {
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	dir, err := os.MkdirTemp("", "pins")
	if err != nil {
		return 1
	}
	s, err := mcptool.New(mcptool.Config{
		Name: "local", Command: []string{exe}, Env: map[string]identity.Secret{"MCPTOOL_TEST_ROLE": identity.NewSecret("stubborn")},
		Pins: mcptool.NewFilePins(filepath.Join(dir, "pins.json")), TrustOnFirstUse: true, Limits: quick(),
	})
	if err != nil {
		return 1
	}
	go func() { _ = s.Run(context.Background()) }()
	for range s.Changed() {
		all, _ := s.Tools()
		for i := range all {
			if all[i].Name == "family" {
				got, err := all[i].Call(context.Background(), json.RawMessage(`{}`))
				fmt.Fprintln(os.Stdout, string(got), err)
			}
		}
	}
	return 1
}

func TestAProgramDoesNotOutliveUsWhenWeAreKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	us := exec.CommandContext(t.Context(), exe)
	us.Env = []string{"MCPTOOL_TEST_ROLE=parent", "TMPDIR=" + t.TempDir()}
	out, err := us.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := us.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pids := numbers(t, line)

	if err := us.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = us.Wait()

	gone(t, pids[0])
	_ = syscall.Kill(pids[1], syscall.SIGKILL) // what the program itself started is not ours to see
}

func numbers(t *testing.T, result string) (out []int) {
	t.Helper()
	_, after, _ := strings.Cut(result, `"text":"`)
	list, _, _ := strings.Cut(after, `"`)
	for f := range strings.FieldsSeq(list) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("%s: %v", result, err)
		}
		out = append(out, n)
	}
	if len(out) != 2 {
		t.Fatalf("got %s, want two numbers", result)
	}
	return out
}

// gone waits until a process has ended. A zombie that nobody reaps has.
func gone(t *testing.T, pid int) {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("process %d lives", pid)
		}
	}
}

func TestAToolOfAProgramMayHaveAnOwnerOnlyInItsArguments(t *testing.T) {
	c := command(t, "server")
	c.Tools = map[string]mcptool.Known{"sayHello": {Owners: map[string]tools.Owner{"name": tools.OwnerSubject}}, "env": {Owners: map[string]tools.Owner{"person": tools.OwnerSubject}}}
	w := newWorld(t, c).open("family")

	w.bob("say_hello", `{"name":"bob"}`)
	if reason, _ := w.fails("say_hello", `{"name":"eve"}`); reason != fault.OwnerMismatch {
		t.Errorf("got %s for another person's data", reason)
	}
	if w.has("env") {
		t.Error("a tool is there whose arguments do not say whose data it is")
	}
	want(t, jsonOf(w.source.Offers()), `owner parameter \"person\" is not a string parameter`)
}

func TestAConfigThatCannotHoldIsRefused(t *testing.T) {
	pins := mcptool.NewFilePins(filepath.Join(t.TempDir(), "pins.json"))
	for name, c := range map[string]mcptool.Config{
		"no name":        {URL: "https://a.example", Pins: pins},
		"no pins":        {Name: "a", URL: "https://a.example"},
		"both":           {Name: "a", URL: "https://a.example", Command: []string{"x"}, Pins: pins},
		"plain":          {Name: "a", URL: "http://a.example", Pins: pins},
		"password":       {Name: "a", URL: "https://me:pw@a.example", Pins: pins},
		"stdio audience": {Name: "a", Command: []string{"x"}, Backend: tools.Backend{Audience: "a"}, Tokens: &tools.Tokens{}, Pins: pins},
		"no minter":      {Name: "a", URL: "https://a.example", Backend: tools.Backend{Audience: "a"}, Pins: pins},
		"two tokens":     {Name: "a", URL: "https://a.example", Backend: tools.Backend{Audience: "a"}, Tokens: &tools.Tokens{}, Headers: map[string]identity.Secret{"authorization": identity.NewSecret("x")}, Pins: pins},
		"session header": {Name: "a", URL: "https://a.example", Headers: map[string]identity.Secret{"mcp-session-id": identity.NewSecret("x")}, Pins: pins},
	} {
		if _, err := mcptool.New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func jsonOf(v any) string { b, _ := json.Marshal(v); return string(b) }

func TestAProgramThatWritesSomethingElseIsNoServer(t *testing.T) {
	for name, script := range map[string]string{
		"noise":     `while :; do echo noise; done`,
		"long line": `head -c 9000000 /dev/zero | tr '\0' x; cat`,
		"silence":   `cat > /dev/null`,
		"gone":      `exit 7`,
		"no reader": `exec sleep 300`,
	} {
		t.Run(name, func(t *testing.T) {
			l := quick()
			l.Connect, l.Backoff = 300*time.Millisecond, time.Hour
			c := mcptool.Config{Name: "local", Command: []string{"/bin/sh", "-c", script}, Env: map[string]identity.Secret{"PATH": identity.NewSecret("/usr/bin:/bin")}, Limits: l}
			w := newWorld(t, c)
			w.told("an MCP server is not there")
		})
	}
}

func TestAProgramThatStopsReadingHoldsUpNobody(t *testing.T) {
	say := func(m string) string { return "read l; echo '{\"jsonrpc\":\"2.0\"," + m + "}'; " }
	script := say(`"id":1,"error":{"code":-32601,"message":"no"}`) +
		say(`"id":2,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"deaf","version":"1"}}`) + "read l; " +
		say(`"id":3,"result":{"tools":[{"name":"good","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}}}]}`) + "exec sleep 300"
	l := quick()
	l.Call, l.Connect, l.Backoff = 300*time.Millisecond, 300*time.Millisecond, time.Hour
	w := newWorld(t, mcptool.Config{Name: "local", Command: []string{"/bin/sh", "-c", script}, TrustOnFirstUse: true, Env: map[string]identity.Secret{"PATH": identity.NewSecret("/usr/bin:/bin")}, Limits: l}).open("good")

	for range 3 { // more than a pipe holds
		if reason, got := w.fails("good", `{"a":"`+strings.Repeat("x", 50_000)+`"}`); reason != fault.OutcomeUnknown && reason != fault.ToolUnavailable && reason != fault.DeadlineExceeded {
			t.Errorf("got %s", got)
		}
	}

	w.told("an MCP server is not there")
}

// plain is a program that reads a line, does what it says and reads the next. A call
// lasts until somebody has opened and closed the pipe that it names.
func plain() int {
	in := bufio.NewReader(os.Stdin)
	for {
		text, err := in.ReadBytes('\n')
		if err != nil {
			return 0
		}
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct{ Arguments struct{ Wait string } }
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return 1
		}
		if m.Params.Arguments.Wait != "" {
			_, _ = os.ReadFile(m.Params.Arguments.Wait)
		}
		answers := map[string]string{
			"initialize": `"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"plain","version":"1"}}`,
			"tools/list": `"result":{"tools":[` + work + `]}`,
			"tools/call": `"result":{"content":[{"type":"text","text":"done"}]}`,
		}
		if m.ID != nil {
			fmt.Fprintf(os.Stdout, "{\"jsonrpc\":\"2.0\",\"id\":%s,%s}\n", m.ID, cmp.Or(answers[m.Method], `"error":{"code":-32601,"message":"no"}`))
		}
	}
}

const work = `{"name":"work","inputSchema":{"type":"object","properties":{"wait":{"type":"string"},"text":{"type":"string"}}}}`

func TestWhoWaitsForABusyProgramEndsNobodysCall(t *testing.T) {
	c := command(t, "plain")
	c.Limits, c.Tools = quick(), map[string]mcptool.Known{"work": {Effect: tools.Read}}
	c.Limits.Connect, c.Limits.Refresh = 400*time.Millisecond, 50*time.Millisecond
	w := newWorld(t, c).open("work")
	begun := len(w.logs.String()) // on a busy machine it takes more than one start
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	bob := make(chan agents.ToolCallFinished, 1)
	go func() { bob <- w.call(as(t.Context(), "bob"), "work", `{"wait":"`+pipe+`"}`) }()
	began, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}

	var alice sync.WaitGroup
	for range 3 { // more than a pipe holds
		alice.Go(func() {
			ctx, cancel := context.WithTimeout(as(t.Context(), "alice"), time.Second)
			defer cancel()
			for range w.gate.Call(ctx, toolCall("work", `{"text":"`+strings.Repeat("x", 50_000)+`"}`)) { //nolint:revive // she waits in vain
			}
		})
	}
	alice.Wait()
	if err := began.Close(); err != nil {
		t.Fatal(err)
	}

	if got := <-bob; got.Failed {
		t.Errorf("got %s for the call that had begun", got.Result)
	}
	want(t, w.bob("work", `{}`), "done")
	without(t, w.logs.String()[begun:], "not there")
}
