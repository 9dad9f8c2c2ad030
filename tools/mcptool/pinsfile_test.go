package mcptool_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

func TestPinsOutliveTheProcessAndSayWhatWasAccepted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.json")
	c := serve(t, newBackend().handler(nil))
	c.Pins = mcptool.NewFilePins(path)
	newWorld(t, c).open("say_hello")

	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o644 {
		t.Errorf("got the mode %v", info.Mode())
	}
	textOf, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want(t, string(textOf), `"description": "Greets."`)

	// A server that is down has the tools that were accepted.
	c.URL, c.TrustOnFirstUse = "https://127.0.0.1:1/mcp", false
	w := newWorld(t, c).open("say_hello")
	if got := w.tool("say_hello").Description; got != "Greets." {
		t.Errorf("got %q", got)
	}
	if reason, _ := w.fails("say_hello", `{"name":"x"}`); reason != fault.ToolUnavailable {
		t.Errorf("got %s", reason)
	}
}

func TestWhatIsAcceptedElsewhereIsTakenWithoutARestart(t *testing.T) {
	c := serve(t, newBackend().handler(nil))
	c.TrustOnFirstUse, c.Tools, c.Limits = false, map[string]mcptool.Known{"sayHello": {}}, quick()
	c.Limits.Reread = time.Millisecond
	path := filepath.Join(t.TempDir(), "pins.json")
	c.Pins = mcptool.NewFilePins(path)
	w := newWorld(t, c)
	w.until("it is read", w.source.Read)

	other := c
	other.Name, other.Pins = "ext", mcptool.NewFilePins(path) // of another process
	operator, err := mcptool.New(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := operator.Accept("sayHello", operator.Offers()[1].Hash); err != nil {
		t.Fatal(err)
	}

	w.until("it is taken", func() bool { return w.has("say_hello") })
	w.build()
	w.bob("say_hello", `{"name":"bob"}`)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.until("nothing is accepted", func() bool { return !w.has("say_hello") })
	if reason, _ := w.fails("say_hello", `{"name":"bob"}`); reason != fault.ToolUnavailable {
		t.Errorf("got %s", reason)
	}
}

// TestAFileOfPinsMayBeOfItsOwnersGroup, as all is that somebody makes whose umask is 002:
// their clone of a repository, and what demo and dev write.
func TestAFileOfPinsMayBeOfItsOwnersGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a file to a group")
	}
	for name, c := range map[string]struct {
		mode  fs.FileMode
		group int
		want  bool
	}{
		"as by umask 022":             {0o644, 0, true},
		"as by umask 002":             {0o664, 0, true},
		"another group may read it":   {0o644, 4321, true},
		"another group may change it": {0o664, 4321, false},
		"all may":                     {0o646, 0, false},
	} {
		path := filepath.Join(t.TempDir(), "tools.lock")
		if err := errors.Join(os.WriteFile(path, []byte(`{}`), 0o600), os.Chmod(path, c.mode), os.Chown(path, 0, c.group)); err != nil {
			t.Fatal(err)
		}
		if _, err := mcptool.NewFilePins(path).Load("ext"); (err == nil) != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAFileOfPinsThatOthersChangedIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.json")
	pins := mcptool.NewFilePins(path)
	for name, change := range map[string]func() error{
		"mode, for all": func() error { return os.Chmod(path, 0o646) },
		"content": func() error {
			return os.WriteFile(path, []byte(`{"ext":{"it":{"hash":"00","description":"Evil.","input_schema":{"type":"object"}}}}`), 0o600)
		},
		"no JSON": func() error { return os.WriteFile(path, []byte(`{`), 0o600) },
	} {
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(`{}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pins.Load("ext"); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := pins.Load("ext"); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func TestOneServerCannotFillTheFileOfAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.json")
	honest := serve(t, newBackend().handler(nil))
	honest.Name, honest.Pins = "honest", mcptool.NewFilePins(path)
	newWorld(t, honest).open("say_hello")
	greedy := serve(t, &liar{page: giants(250<<10, 20)})
	greedy.Name, greedy.Pins = "greedy", honest.Pins

	w := newWorld(t, greedy)
	w.until("it is read", w.source.Read)

	if got := w.all(); len(got) > 0 {
		t.Errorf("got %d tools of more than a server's share", len(got))
	}
	if got := len(w.source.Offers()); got != 20 {
		t.Errorf("got %d offers, want all to wait", got)
	}
	w.told("cannot be kept")
	if got, err := mcptool.NewFilePins(path).Load("honest"); err != nil || len(got) != 2 {
		t.Errorf("got %d tools of the honest server, and %v", len(got), err)
	}
}

// giants are pages of ten tools that have a schema of so many bytes.
func giants(size, most int) func(cursor string) string {
	return func(cursor string) string {
		from, _ := strconv.Atoi(cursor)
		var list []string
		for i := from; i < min(from+10, most); i++ {
			list = append(list, fmt.Sprintf(`{"name":"t%d","inputSchema":{"type":"object","description":"%s"}}`, i, strings.Repeat("x", size)))
		}
		next := ""
		if from+10 < most {
			next = fmt.Sprintf(`,"nextCursor":"%d"`, from+10)
		}
		return `{"tools":[` + strings.Join(list, ",") + `]` + next + `}`
	}
}

func TestATrustedListIsKeptAtOnce(t *testing.T) {
	c := serve(t, newBackend().handler(nil))
	pins := &counted{FilePins: mcptool.NewFilePins(filepath.Join(t.TempDir(), "pins.json"))}
	c.Pins = pins

	newWorld(t, c).open("say_hello")

	if got := pins.saved.Load(); got != 1 {
		t.Errorf("the file was written %d times for one list", got)
	}
}

type counted struct {
	*mcptool.FilePins
	saved atomic.Int64
}

func (c *counted) Save(server string, accepted map[string]mcptool.Pin) error {
	c.saved.Add(1)
	return c.FilePins.Save(server, accepted)
}

func TestPinsOfSomebodyElseAreRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a file away")
	}
	const somebody = 12345
	dir := t.TempDir()
	path := filepath.Join(dir, "tools.lock")
	if err := os.WriteFile(path, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, somebody, somebody); err != nil {
		t.Fatal(err)
	}

	if _, err := mcptool.NewFilePins(path).Load("ext"); err == nil {
		t.Error("a file was believed that somebody put into our folder")
	}
	if err := os.Chown(dir, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	if _, err := mcptool.NewFilePins(path).Load("ext"); err != nil {
		t.Errorf("got %v for the file of who has the folder", err)
	}
}

func TestPinsAreSavedWhereALinkLeads(t *testing.T) {
	kept, link := filepath.Join(t.TempDir(), "kept"), filepath.Join(t.TempDir(), "tools.lock")
	if err := os.WriteFile(kept, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(kept, link); err != nil {
		t.Fatal(err)
	}
	c := serve(t, newBackend().handler(nil))
	c.Pins = mcptool.NewFilePins(link)

	newWorld(t, c).open("say_hello")

	if got, err := mcptool.NewFilePins(kept).Load("ext"); err != nil || len(got) != 2 {
		t.Errorf("got %d tools in the file itself, and %v", len(got), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("got %v, %v, want the link as it was", info, err)
	}
}
