package audit_test

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
)

// shortened is a log of one chain whose second half says that rows up to through
// were removed, and which then lost the rows that lose names.
func shortened(t *testing.T, through int64, hash string, signed bool, lose func(int64) bool) audit.Report {
	t.Helper()
	e := evidence{key: testKey().Public().(ed25519.PublicKey)}
	previous := ""
	var hashes []string
	head := audit.Head{}
	add := func(r *audit.Record) {
		body := audit.Seal(head, r)
		head = r.Head()
		hashes = append(hashes, r.Hash)
		e.rows = append(e.rows, audit.Row{Columns: r.Columns(), Hash: r.Hash, Body: body})
	}
	heads := func() {
		c := audit.Checkpoint{Number: int64(len(e.checkpoints) + 1), Time: 1, Previous: previous, Heads: []audit.TenantHead{{Tenant: "acme", Head: head}}}
		line, err := c.Sign(testKey())
		if err != nil {
			t.Fatal(err)
		}
		e.checkpoints, previous = append(e.checkpoints, line), c.Hash()
	}
	for range 6 {
		r := sample()
		add(&r)
	}
	heads()
	if hash == "" {
		hash = hashes[through-1]
	}
	add(audit.Removal{Through: through, Hash: hash, Checkpoint: 1}.Record("acme", 5))
	if signed {
		heads()
	}
	e.rows = slices.DeleteFunc(e.rows, func(r audit.Row) bool { return lose(r.Sequence) })
	e.witness = slices.Clone(e.checkpoints)
	return e.verify()
}

func upTo(n int64) func(int64) bool { return func(s int64) bool { return s <= n } }

func TestVerifyMissesOnlyWhatASignedRowRemoved(t *testing.T) {
	for name, row := range map[string]struct {
		hash   string
		signed bool
		lose   func(int64) bool
		want   string // of the problem; empty: none
	}{
		"all that it removed":         {"", true, upTo(6), ""},
		"a part of it":                {"", true, upTo(3), ""},
		"the middle of it":            {"", true, func(s int64) bool { return s == 3 || s == 5 }, ""},
		"nothing":                     {"", true, upTo(0), ""},
		"by a row that is not signed": {"", false, upTo(6), "rows 1 to 6 are missing"},
		"by a row with another hash":  {strings.Repeat("0", 64), true, upTo(6), "rows 1 to 6 are missing"},
		"and itself":                  {"", true, upTo(7), "rows 1 to 7 are missing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := shortened(t, 6, row.hash, row.signed, row.lose)

			if row.want == "" && !r.OK() || row.want != "" && (r.OK() || !strings.Contains(r.Tenants[0].Problem, row.want)) {
				t.Errorf("got %+v, want %q", r, row.want)
			}
		})
	}
	if r := shortened(t, 4, "", true, upTo(5)); r.OK() || !strings.Contains(r.Tenants[0].Problem, "rows 1 to 5 are missing") {
		t.Errorf("one row more than was removed: got %+v", r)
	}
}

func TestARemovalIsReadStrictly(t *testing.T) {
	good := audit.Removal{Through: 4, Hash: "h", Checkpoint: 2}.Record("acme", 1)
	good.Sequence = 9
	if m, ok := audit.RemovalOf(good); !ok || m.Through != 4 || m.Hash != "h" || m.Checkpoint != 2 {
		t.Fatalf("got %+v, %v", m, ok)
	}
	for _, text := range []string{
		"", "{}", "null", `{"through":4,"hash":"h"}`, `{"Through":4,"hash":"h","checkpoint":2}`, `{"through":4,"hash":"h","checkpoint":2,"more":1}`,
		`{"through":4,"through":8,"hash":"h","checkpoint":2}`, `{"through":9,"hash":"h","checkpoint":2}`, `{"through":1e1,"hash":"h","checkpoint":2}`,
	} {
		r := *good
		r.RedactedArguments = text
		if m, ok := audit.RemovalOf(&r); ok {
			t.Errorf("%s was read as %+v", text, m)
		}
	}
	r := *good
	r.Action = "call_tool"
	if _, ok := audit.RemovalOf(&r); ok {
		t.Error("a row of another action removes rows")
	}
}
