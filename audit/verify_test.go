package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
)

// evidence is a small log with its checkpoints, all of it in hand.
type evidence struct {
	rows        []audit.Row
	checkpoints [][]byte
	witness     [][]byte
	key         ed25519.PublicKey
}

func testKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) }

// newEvidence has two tenants, nine and five rows, and a checkpoint after every
// four appends; the last rows are covered by the last checkpoint.
func newEvidence(t testing.TB) evidence {
	t.Helper()
	m := audit.NewMemory(nil)
	e := evidence{key: testKey().Public().(ed25519.PublicKey)}
	previous := ""
	for i := range 14 {
		r := sample()
		if i%3 == 2 {
			r.Tenant = "globex"
		}
		if i == 13 {
			r.Tenant = "globex"
		}
		r.CallID = r.RunID + "/" + strconv.Itoa(i)
		r.Time += int64(i)
		if err := m.Append(audit.Entry{Record: &r}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i%4 == 3 || i == 13 {
			c := audit.Checkpoint{Number: int64(len(e.checkpoints) + 1), Time: r.Time, Previous: previous, Heads: m.Heads()}
			line, err := c.Sign(testKey())
			if err != nil {
				panic(err)
			}
			e.checkpoints = append(e.checkpoints, line)
			previous = c.Hash()
		}
	}
	for row := range m.Rows() {
		e.rows = append(e.rows, row)
	}
	e.witness = slices.Clone(e.checkpoints)
	return e
}

func seq[T any](s []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range s {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (e evidence) verify() audit.Report {
	return audit.Verify(seq(e.rows), seq(e.checkpoints), seq(e.witness), e.key)
}

func (e evidence) clone() evidence {
	e.rows, e.checkpoints, e.witness = slices.Clone(e.rows), slices.Clone(e.checkpoints), slices.Clone(e.witness)
	return e
}

func text(r audit.Report) string {
	out := slices.Clone(r.Problems)
	for _, t := range r.Tenants {
		if t.Problem != "" {
			out = append(out, t.Tenant+": "+t.Problem)
		}
	}
	return strings.Join(out, "\n")
}

func TestVerifyAcceptsAnIntactLog(t *testing.T) {
	r := newEvidence(t).verify()

	if !r.OK() || len(r.Tenants) != 2 || r.Checkpoints != 4 || r.Witnessed != 4 {
		t.Fatalf("got %+v", r)
	}
	if a := r.Tenants[0]; a.Tenant != "acme" || a.Rows != 9 || a.Head.Sequence != 9 || a.Signed != 9 || a.Witnessed != 9 {
		t.Errorf("got %+v", a)
	}
}

func TestVerifyFindsAFlipInEveryByteOfEveryRow(t *testing.T) {
	e := newEvidence(t)
	for _, i := range []int{0, 6, 13} { // the first, one in the middle, the last of all
		row := e.rows[i]
		for at := range row.Body {
			bad := e.clone()
			bad.rows[i].Body = bytes.Clone(row.Body)
			bad.rows[i].Body[at] ^= 1 << (at % 8)
			checkBody(t, bad, i, at)
		}
	}
}

// checkBody verifies with the flip as it is and, every so often, with the hash
// column adjusted to it, as somebody would who knows the format.
func checkBody(t *testing.T, bad evidence, i, at int) {
	t.Helper()
	if audit.Verify(seq(bad.rows), nil, nil, nil).OK() {
		t.Fatalf("row %d, byte %d: the flip was not found", i, at)
	}
	rec, err := audit.Parse(bad.rows[i].Body)
	if err != nil || at%13 != 0 {
		return // signatures are slow; every byte with every row is covered many times over
	}
	bad.rows[i] = audit.Row{Columns: rec.Columns(), Hash: rec.Hash, Body: bad.rows[i].Body}
	if bad.verify().OK() {
		t.Fatalf("row %d, byte %d: the flip with adjusted hash was not found", i, at)
	}
}

func TestVerifyFindsEveryChangedColumn(t *testing.T) {
	e := newEvidence(t)
	for _, i := range []int{0, 6, 13} {
		for f := range reflect.TypeFor[audit.Columns]().NumField() {
			bad := e.clone()
			v := reflect.ValueOf(&bad.rows[i].Columns).Elem().Field(f)
			if v.Kind() == reflect.Int64 {
				v.SetInt(v.Int() + 1)
			} else {
				v.SetString(v.String() + "x")
			}
			if bad.verify().OK() {
				t.Errorf("row %d: change of column %s was not found", i, reflect.TypeFor[audit.Columns]().Field(f).Name)
			}
		}
		for at := range e.rows[i].Hash {
			bad := e.clone()
			h := []byte(bad.rows[i].Hash)
			h[at] ^= 1
			bad.rows[i].Hash = string(h)
			if audit.Verify(seq(bad.rows), nil, nil, nil).OK() {
				t.Errorf("row %d: change of the hash was not found", i)
			}
		}
	}
}

func TestVerifyFindsAFlipInEveryByteOfACheckpoint(t *testing.T) {
	e := newEvidence(t)
	line := e.checkpoints[1]
	for at := range line {
		changed := bytes.Clone(line)
		changed[at] ^= 1 << (at % 8)
		bad := e.clone()
		if bad.checkpoints[1], bad.witness = changed, nil; bad.verify().OK() {
			t.Fatalf("store's checkpoint, byte %d: not found", at)
		}
		bad = e.clone()
		if bad.witness[1] = changed; audit.Verify(seq(bad.rows), nil, seq(bad.witness), bad.key).OK() {
			t.Fatalf("witness's checkpoint, byte %d: not found", at)
		}
	}
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*evidence)
		want   string
	}{
		"row left out":        {func(e *evidence) { e.rows = slices.Delete(e.rows, 3, 4) }, "acme: row 4 is missing"},
		"rows left out":       {func(e *evidence) { e.rows = slices.Delete(e.rows, 3, 5) }, "acme: rows 4 to 5 are missing"},
		"first row left out":  {func(e *evidence) { e.rows = e.rows[1:] }, "acme: row 1 is missing"},
		"rows swapped":        {func(e *evidence) { e.rows[2], e.rows[3] = e.rows[3], e.rows[2] }, "acme: row 3 is missing"},
		"row twice":           {func(e *evidence) { e.rows = slices.Insert(e.rows, 2, e.rows[1]) }, "acme: row 2 comes after row 2"},
		"tail cut":            {func(e *evidence) { e.rows = slices.Delete(e.rows, 7, 9) }, "acme: rows 8 to 9 are missing: checkpoint 4"},
		"tenant cut":          {func(e *evidence) { e.rows = e.rows[:9] }, "globex: rows 1 to 5 are missing: checkpoint 4"},
		"everything cut":      {func(e *evidence) { e.rows = nil }, "acme: rows 1 to 9 are missing"},
		"relabelled":          {func(e *evidence) { e.rows[0].Tool = "x" }, `acme: row 1 was relabelled: its column tool says "x", its bytes say "refund_order"`},
		"changed":             {func(e *evidence) { e.rows[0].Body = append(bytes.Clone(e.rows[0].Body), ' ') }, "acme: row 1 was changed"},
		"checkpoint left out": {func(e *evidence) { e.checkpoints = slices.Delete(e.checkpoints, 1, 2) }, "checkpoints 2 to 2 are missing from the store"},
		"store cut with rows": {func(e *evidence) { e.checkpoints, e.rows = e.checkpoints[:3], slices.Delete(e.rows, 8, 9) }, "the store lacks checkpoint 4, which the witness has\nacme: row 9 is missing"},
		"witness has a hole":  {func(e *evidence) { e.witness = slices.Delete(e.witness, 1, 2) }, "checkpoints 2 to 2 are missing from the witness"},
		"another key":         {func(e *evidence) { e.key = ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey) }, "checkpoint 1 of the witness is not signed by key"},
		"no key":              {func(e *evidence) { e.key = nil }, "cannot be checked without the public key"},
		"garbage in witness":  {func(e *evidence) { e.witness[1] = []byte("x") }, "line 2 of the checkpoints of the witness is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEvidence(t)
			c.change(&e)

			got := text(e.verify())

			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestVerifyFindsAForgedChain(t *testing.T) {
	e := newEvidence(t)
	var head audit.Head
	for i, row := range e.rows {
		if row.Tenant != "acme" {
			continue
		}
		r, _ := audit.Parse(row.Body)
		if r.Sequence == 9 {
			r.User.Subject = "mallory"
		}
		body := audit.Seal(head, &r)
		head = r.Head()
		e.rows[i] = audit.Row{Columns: r.Columns(), Hash: r.Hash, Body: body}
	}

	if got, want := text(e.verify()), "acme: row 9 was replaced: checkpoint 4 of "; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVerifyLetsTheLogGrowAndTheWitnessLag(t *testing.T) {
	e := newEvidence(t)
	e.witness = e.witness[:2]

	r := e.verify()

	if !r.OK() || r.Tenants[0].Signed != 9 || r.Tenants[0].Witnessed >= 9 {
		t.Errorf("got %+v: %s", r, text(r))
	}
}

func TestVerifyReportsRowsThatCannotBeRead(t *testing.T) {
	e := newEvidence(t)
	broken := func(yield func(audit.Row, error) bool) { yield(audit.Row{}, errors.New("disk")) }

	got := text(audit.Verify(broken, seq(e.checkpoints), nil, e.key))

	if !strings.Contains(got, "the rows cannot be read: disk") || !strings.Contains(got, "acme: rows 1 to 9 are missing") {
		t.Errorf("got %q", got)
	}
}

func TestExportVerifiesByItself(t *testing.T) {
	e := newEvidence(t)
	var out bytes.Buffer
	if err := audit.Export(&out, seq(e.rows), seq(e.checkpoints), e.key); err != nil {
		t.Fatal(err)
	}

	x, err := audit.ReadExport(&out)
	if err != nil {
		t.Fatal(err)
	}
	r := audit.Verify(x.Rows, x.Checkpoints, seq(e.witness), x.Key)

	if !r.OK() || !x.Key.Equal(e.key) || r.Checkpoints != 4 || r.Tenants[0].Rows != 9 {
		t.Errorf("got %+v: %s", r, text(r))
	}
}

// FuzzVerify changes an export in any way. With the witness and the key kept
// apart, what verifies must hold the very same rows.
func FuzzVerify(f *testing.F) {
	e := newEvidence(f)
	var out bytes.Buffer
	if err := audit.Export(&out, seq(e.rows), seq(e.checkpoints), e.key); err != nil {
		f.Fatal(err)
	}
	whole := out.Bytes()
	f.Add(whole, 0, byte(0))
	f.Add(whole, 700, byte(1))
	f.Add(whole[:len(whole)/2], 3, byte(0))
	f.Fuzz(func(t *testing.T, text []byte, at int, x byte) {
		text = bytes.Clone(text)
		if len(text) > 0 {
			text[uint(at)%uint(len(text))] ^= x
		}
		in, err := audit.ReadExport(bytes.NewReader(text))
		if err != nil {
			return
		}
		var rows []audit.Row
		keep := func(yield func(audit.Row, error) bool) {
			for row, err := range in.Rows {
				rows = append(rows, row)
				if !yield(row, err) {
					return
				}
			}
		}
		if !audit.Verify(keep, in.Checkpoints, seq(e.witness), e.key).OK() {
			return
		}
		same := func(a, b audit.Row) bool {
			return a.Columns == b.Columns && a.Hash == b.Hash && bytes.Equal(a.Body, b.Body)
		}
		byTenant := func(tenant string, rows []audit.Row) []audit.Row {
			return slices.DeleteFunc(slices.Clone(rows), func(r audit.Row) bool { return r.Tenant != tenant })
		}
		for _, tenant := range []string{"acme", "globex"} {
			got, want := byTenant(tenant, rows), byTenant(tenant, e.rows)
			if len(got) < len(want) || !slices.EqualFunc(got[:len(want)], want, same) {
				t.Fatalf("verified, but the rows of %s differ", tenant)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	m := audit.NewMemory(nil)
	for range 10_000 {
		r := sample()
		m.Append(audit.Entry{Record: &r})
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := audit.Verify(m.Rows(), nil, nil, nil); !r.OK() {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "rows/s")
}
