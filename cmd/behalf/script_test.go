package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"behalf": main, "mcpwiki": mcpWiki})
}

func TestScripts(t *testing.T) {
	plain := plainProgram(t)
	descriptors, err := filepath.Abs("../../examples/supportdesk/crm.binpb")
	if err != nil {
		t.Fatal(err)
	}
	everything, err := filepath.Abs("../../tools/grpctool/testdata/everything.binpb")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "flip": flip, "remember": remember, "poll": poll, "listening": listening,
			"authority": authority, "freeport": freeport, "answers": answers,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			e.Setenv("DESCRIPTORS", descriptors)
			e.Setenv("EVERYTHING", everything)
			if plain != "" && !strings.HasSuffix(e.WorkDir, "script-demo") {
				e.Setenv("PATH", plain+string(os.PathListSeparator)+e.Getenv("PATH"))
			}
			return nil
		},
	})
}

// plainProgram is the folder of a program without the race detector, under which
// each of the scripts' many processes takes seconds to begin. The demo, which is
// server and client in one process, keeps it.
func plainProgram(t *testing.T) string {
	t.Helper()
	if !raceEnabled {
		return ""
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "behalf"), ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// await FILE [PATTERN] waits until FILE is there and has a match for PATTERN.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: await FILE [PATTERN]")
	}
	pattern := regexp.MustCompile("")
	if len(args) == 2 {
		pattern = regexp.MustCompile(args[1])
	}
	tick, late := time.NewTicker(10*time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && len(b) > 0 && pattern.Match(b) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("%s did not come to match %q", args[0], pattern)
		}
	}
}

// poll PATTERN COMMAND… runs a command until its output matches.
func poll(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: poll PATTERN COMMAND…")
	}
	pattern := regexp.MustCompile(args[0])
	for late := time.Now().Add(2 * time.Minute); time.Now().Before(late); {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%v did not come to print %q", args[1:], args[0])
}

// flip FILE TEXT changes the first byte of TEXT wherever it stands in FILE.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE TEXT")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	other := []byte(args[1])
	other[0] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.ReplaceAll(b, []byte(args[1]), other), 0o600))
}

// remember NAME PATTERN keeps what the pattern's group matches in stdout.
func remember(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: remember NAME PATTERN")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("stdout has no match for %q with a group", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// listening NAME DIR waits for the server whose folder is DIR, and keeps its
// address.
func listening(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: listening NAME DIR")
	}
	file := args[1] + "/" + profileName
	await(ts, false, []string{file, `(?s)"addr".*\}\s*$`})
	m := regexp.MustCompile(`"addr": "([^"]+)"`).FindStringSubmatch(ts.ReadFile(file))
	ts.Setenv(args[0], m[1])
}

// authority DIR makes what an operator has from elsewhere: an authority with an
// SVID for the server and one for a client, an issuer's key set, and a token.
func authority(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: authority DIR")
	}
	dir := ts.MkAbs(args[0])
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir, TrustDomain: "corp.example"})
	ts.Check(err)
	for _, path := range []string{"/behalf", "/web", "/stranger"} {
		_, err = ca.Files(path)
		ts.Check(err)
	}
	issuer, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: "https://idp.example", KeyFile: filepath.Join(dir, "idp.key")})
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "idp.json"), issuer.JWKS(), 0o600))
	token, err := tokenFor(issuer, "behalf", person{Subject: "erin", Name: "Erin", Roles: []string{"support"}, Scopes: []string{"crm.read"}})
	ts.Check(err)
	ts.Setenv("TOKEN", token)
}

// freeport NAME keeps an address that nobody listens on.
func freeport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// answers ADDR waits until somebody listens there.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: answers ADDR")
	}
	tick, late := time.NewTicker(10*time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", args[0]); err == nil {
			ts.Check(c.Close())
			return
		}
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("nobody listens on %s", args[0])
		}
	}
}
