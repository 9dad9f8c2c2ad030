package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/policy/engine"
	"github.com/behalf-dev/behalf/policy/policytest"
)

const aliceMay = `cases:
  - name: alice may look
    user: {subject: alice, tenant: acme}
    tool: get_customer
    args: {id: c}
    expect: {decision: allow}
`

func TestPublishRefusesASetWhoseTestsFail(t *testing.T) {
	closed := policytest.PermitAll + `@id("closed") forbid (principal, action == Action::"call_tool", resource);`

	_, err := Publish(policytest.Config(map[string]string{"base.cedar": closed, "desk.policytest.yaml": aliceMay}))

	p, ok := errors.AsType[*engine.Problem](err)
	if !ok || p.File != "policies/desk.policytest.yaml" || p.Inside != "desk.policytest.yaml" || p.Line != 2 {
		t.Fatalf("got %v, want the file and the line of the case", err)
	}
	if want := `case "alice may look": decision: got deny, want allow (POLICY_DENIED by closed)`; p.Text != want {
		t.Errorf("got  %s\nwant %s", p.Text, want)
	}
	if _, err := Publish(policytest.Config(map[string]string{"base.cedar": policytest.PermitAll, "desk.policytest.yaml": aliceMay})); err != nil {
		t.Errorf("got %v, want a set whose tests hold", err)
	}
}

func TestPublishRefusesTestsThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"no YAML":      {"cases: [", "policies/t.policytest.yaml:"},
		"half a case":  {"cases:\n  - name: x\n", "policies/t.policytest.yaml:2:5: expect.decision must be allow or deny"},
		"unknown keys": {"cases:\n  - nam: x\n", "policies/t.policytest.yaml:2:5: "},
		"too large":    {"#" + strings.Repeat("x", engine.MaxFile), "larger than"},
	} {
		_, err := Publish(policytest.Config(map[string]string{"base.cedar": policytest.PermitAll, "t.policytest.yaml": c.yaml}))
		if _, ok := errors.AsType[*engine.Problem](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a problem with %q", name, err, c.want)
		}
	}
}

func TestPublishAsksForCoverageWhenToldTo(t *testing.T) {
	c := policytest.Config(map[string]string{
		"base.cedar":        policytest.PermitAll + "\n\n" + `@id("cap") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args.id == "x" };`,
		"t.policytest.yaml": aliceMay,
	})
	if _, err := Publish(c); err != nil {
		t.Fatal(err)
	}
	c.Covered = true

	_, err := Publish(c)

	if p, ok := errors.AsType[*engine.Problem](err); !ok || p.Error() != "policies/base.cedar:4:1: cap: no case is decided by it" {
		t.Errorf("got %v, want the place of what is not covered", err)
	}
}

// moving is a folder that somebody writes to while it is read.
type moving struct {
	fstest.MapFS
	opened int
	change func(opened int, files fstest.MapFS)
}

func (m *moving) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".cedar") {
		m.opened++
		m.change(m.opened, m.MapFS)
	}
	return m.MapFS.Open(name)
}

// Glob, ReadDir and the like go through Open.
func (m *moving) ReadDir(name string) ([]fs.DirEntry, error) { return m.MapFS.ReadDir(name) }

func TestPublishWaitsForAFolderToComeToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := policytest.Config(map[string]string{"base.cedar": policytest.PermitAll})
		folder := &moving{MapFS: c.FS.(fstest.MapFS), change: func(opened int, files fstest.MapFS) {
			if opened == 1 { // after the first look
				files["later.cedar"] = &fstest.MapFile{Data: []byte(`@id("later") forbid (principal, action, resource);`)}
			}
		}}
		c.FS = folder

		set, err := Publish(c)

		if err != nil || len(set.Policies()) != 2 || set.Policies()[1].ID != "later" {
			t.Errorf("got %v, %v; want all of the folder", set, err)
		}
	})
}

func TestPublishRefusesAFolderThatNeverComesToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := policytest.Config(map[string]string{"base.cedar": policytest.PermitAll})
		c.FS = &moving{MapFS: c.FS.(fstest.MapFS), change: func(opened int, files fstest.MapFS) {
			files["base.cedar"] = &fstest.MapFile{Data: []byte(policytest.PermitAll + strings.Repeat("//", opened))}
		}}

		_, err := Publish(c)

		if p, ok := errors.AsType[*engine.Problem](err); !ok || !strings.Contains(p.Text, "changes while it is read") {
			t.Errorf("got %v, want it refused", err)
		}
	})
}

// hanging is a file system that does not answer until it is let go.
type hanging struct{ gone chan struct{} }

func (h hanging) Open(string) (fs.File, error) {
	<-h.gone
	return nil, fs.ErrNotExist
}

func TestPublishGivesUpOnAFolderThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, began := hanging{make(chan struct{})}, time.Now()

		_, err := Publish(engine.Config{Dir: "policies", FS: h})

		if p, ok := errors.AsType[*engine.Problem](err); !ok || !strings.Contains(p.Text, "does not answer") || time.Since(began) != engine.MaxWait {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		close(h.gone)
	})
}

// Other tools may come when the folder has changed already, and nobody has published
// that.
func TestASetKeepsTheFilesThatItWasMadeOf(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("base.cedar", policytest.PermitAll)
	write("tenants/acme/own.cedar", `@id("own") forbid (principal, action, resource) when { false };`)
	write("tenants/notes.txt", "no policy")
	write("tenants/..data/x", "of a volume")
	write("t.policytest.yaml", aliceMay)
	c := policytest.Config(nil)
	c.Dir, c.FS = dir, nil
	set, err := Publish(c)
	if err != nil {
		t.Fatal(err)
	}
	write("base.cedar", "not a policy")

	c.FS = set.Files()
	again, err := Publish(c)
	if err != nil {
		t.Fatal(err)
	}

	if again.Revision() != set.Revision() || len(again.Policies()) != 2 || again.Files() == nil {
		t.Errorf("got revision %s with %v, want the same set", again.Revision(), again.Policies())
	}
	if _, err := Publish(func() engine.Config { c.FS = nil; return c }()); err == nil {
		t.Error("the folder itself: got no error, so the test proves nothing")
	}
}
