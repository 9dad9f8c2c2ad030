package audit

import (
	"crypto/ed25519"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Report is what Verify found out.
type Report struct {
	Tenants     []TenantReport // sorted by tenant
	Checkpoints int            // in the store, with a good signature
	Witnessed   int            // in the witness, with a good signature
	Problems    []string       // what is wrong and belongs to no tenant
}

// TenantReport is what was found out about one chain.
type TenantReport struct {
	Tenant    string
	Rows      int64
	Head      Head   // the last row that follows from the first
	Signed    int64  // the newest row that a checkpoint covers
	Witnessed int64  // the newest row that a witnessed checkpoint covers
	Removed   int64  // rows 1 to this were removed by retention, and a signed row says so
	RemovedAt int64  // when that row was written, in nanoseconds
	Problem   string // the first thing that is wrong, for a person; empty when nothing is
}

// OK says that nothing is wrong.
func (r Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Tenants, func(t TenantReport) bool { return t.Problem != "" })
}

// Verify proves a log, or says what is wrong with it. Rows of one tenant come in
// the order of their sequence. Checkpoints are the store's own lines, witness
// those kept outside; either may be nil when there is none. It is pure, and
// reads the witness first and the rows last, so that a log which grows meanwhile
// does not look cut.
//
// Rows that retention removed may be missing: a later row, which a checkpoint
// covers, then says up to where (see Removal). Some of these may still be there, and
// some go while Verify reads.
//
// What it finds: any changed byte of a row, an index column that does not follow
// from the row's bytes, other rows left out, repeated or moved, rows missing before
// the newest checkpoint, and checkpoints that are damaged, left out, replaced or
// not signed by key.
func Verify(rows iter.Seq2[Row, error], checkpoints, witness iter.Seq2[[]byte, error], key ed25519.PublicKey) Report {
	v := verifier{chains: map[string]*chain{}}
	seen := v.lines("witness", witness, key)
	own := v.lines("store", checkpoints, key)
	v.report.Witnessed, v.report.Checkpoints = len(seen), len(own)
	v.links("witness", seen)
	v.links("store", own)
	if checkpoints != nil {
		v.compare(own, seen)
	}
	v.rows(rows)
	return v.finish()
}

type verifier struct {
	report Report
	chains map[string]*chain
}

// chain is one tenant's rows while they are read.
type chain struct {
	TenantReport
	marks map[int64]mark // sequence -> what was signed about it

	gap       string // the first rows that are not there, for a person; empty: all are
	before    Head   // of them
	gone      Head   // the end of the last rows that are not there
	mayGo     int64  // the newest row that retention may have removed, as a signed row says
	mayGoTime int64  // when that was said
}

type mark struct {
	hash       string
	checkpoint int64
	time       int64
}

// maxProblems keeps a report readable when everything is wrong for one reason.
const maxProblems = 50

func (v *verifier) problem(format string, args ...any) {
	if len(v.report.Problems) == maxProblems {
		return
	}
	v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
}

func (c *chain) problem(format string, args ...any) {
	if c.Problem == "" {
		c.Problem = fmt.Sprintf(format, args...)
	}
}

func (v *verifier) chain(tenant string) *chain {
	c := v.chains[tenant]
	if c == nil {
		c = &chain{TenantReport: TenantReport{Tenant: tenant}, marks: map[int64]mark{}}
		v.chains[tenant] = c
	}
	return c
}

// link is what is kept of a checkpoint.
type link struct{ hash, previous string }

// lines reads one list of checkpoints and keeps the good ones by number.
func (v *verifier) lines(where string, lines iter.Seq2[[]byte, error], key ed25519.PublicKey) map[int64]link {
	good := map[int64]link{}
	if lines == nil {
		return good
	}
	n := 0
	for line, err := range lines {
		n++
		if err != nil {
			v.problem("the checkpoints of the %s cannot be read: %v", where, err)
			break
		}
		c, err := ParseCheckpoint(line)
		switch {
		case err != nil:
			v.problem("line %d of the checkpoints of the %s is damaged: %v", n, where, err)
		case key == nil:
			v.problem("checkpoint %d of the %s cannot be checked without the public key", c.Number, where)
		case !c.SignedBy(key):
			v.problem("checkpoint %d of the %s is not signed by key %s", c.Number, where, KeyID(key))
		case good[c.Number].hash != "" && good[c.Number].hash != hashOf(line):
			v.problem("the %s has two different checkpoints %d", where, c.Number)
		default:
			good[c.Number] = link{hash: hashOf(line), previous: c.Previous}
			v.mark(where, c)
		}
	}
	return good
}

func (v *verifier) mark(where string, c Checkpoint) {
	for _, h := range c.Heads {
		t := v.chain(h.Tenant)
		if m, ok := t.marks[h.Sequence]; ok && m.hash != h.Hash {
			t.problem("row %d was signed with two different hashes, in checkpoints %d and %d", h.Sequence, m.checkpoint, c.Number)
		}
		t.marks[h.Sequence] = mark{hash: h.Hash, checkpoint: c.Number, time: c.Time}
		t.Signed = max(t.Signed, h.Sequence)
		if where == "witness" {
			t.Witnessed = max(t.Witnessed, h.Sequence)
		}
	}
}

// links looks for checkpoints that were left out. A list may begin late (a
// witness was begun anew), but has no holes from there.
func (v *verifier) links(where string, good map[int64]link) {
	numbers := slices.Sorted(maps.Keys(good))
	for i, n := range numbers {
		if i == 0 {
			if where == "store" && n > 1 {
				v.problem("checkpoints 1 to %d are missing from the store", n-1)
			}
			continue
		}
		before := numbers[i-1]
		switch {
		case n != before+1:
			v.problem("checkpoints %d to %d are missing from the %s", before+1, n-1, where)
		case good[n].previous != good[before].hash:
			v.problem("checkpoint %d of the %s does not follow from checkpoint %d", n, where, before)
		}
	}
}

// compare holds the store's checkpoints against the witness. The witness may lag
// behind by what a crash left unwritten, never the store.
func (v *verifier) compare(own, seen map[int64]link) {
	for _, n := range slices.Sorted(maps.Keys(seen)) {
		switch l, ok := own[n]; {
		case !ok:
			v.problem("the store lacks checkpoint %d, which the witness has", n)
		case l.hash != seen[n].hash:
			v.problem("checkpoint %d of the store is not the one the witness has", n)
		}
	}
}

func (v *verifier) rows(rows iter.Seq2[Row, error]) {
	for row, err := range rows {
		if err != nil {
			v.problem("the rows cannot be read: %v", err)
			return
		}
		c := v.chain(row.Tenant)
		c.Rows++
		if c.Problem == "" {
			c.check(row)
		}
	}
}

func (c *chain) check(row Row) {
	rec, err := Parse(row.Body)
	switch {
	case row.Hash != hashOf(row.Body):
		c.problem("row %d was changed: its bytes do not have its hash", row.Sequence)
	case err != nil:
		c.problem("row %d is not a record: %v", row.Sequence, err)
	case rec.Columns() != row.Columns:
		c.problem("row %d was relabelled: %s", row.Sequence, difference(rec.Columns(), row.Columns))
	case rec.Sequence <= c.Head.Sequence:
		c.problem("row %d comes after row %d", rec.Sequence, c.Head.Sequence)
	case rec.Sequence != c.Head.Sequence+1:
		c.skip(rec)
	case rec.PreviousHash != c.Head.Hash:
		c.problem("row %d does not follow from row %d: it names another hash", rec.Sequence, c.Head.Sequence)
	default:
		c.accept(rec)
	}
}

// skip goes on behind rows that are not there. The first one after names the hash
// of the last of them; whether they may be gone, finish says.
func (c *chain) skip(next Record) {
	if c.gap == "" {
		c.gap, c.before = span(c.Head.Sequence+1, next.Sequence-1)+" missing", c.Head
	}
	c.gone = Head{Sequence: next.Sequence - 1, Hash: next.PreviousHash}
	if c.compare(c.gone); c.Problem == "" {
		c.accept(next)
	}
}

// accept takes a row that follows from the one before it.
func (c *chain) accept(rec Record) {
	c.compare(rec.Head())
	m, ok := RemovalOf(&rec)
	if !ok || c.Problem != "" || rec.Sequence > c.Signed || m.Through < c.mayGo || m.Through == c.gone.Sequence && m.Hash != c.gone.Hash {
		return
	}
	c.mayGo, c.mayGoTime = m.Through, rec.Time
}

// removed says whether the rows that are not there were removed by retention.
func (c *chain) removed() {
	switch {
	case c.gap == "":
	case c.gone.Sequence <= c.mayGo:
		c.Removed, c.RemovedAt = c.gone.Sequence, c.mayGoTime
	case c.Problem == "":
		c.Problem, c.Head = c.gap, c.before
	default:
		c.Problem, c.Head = c.gap+"; "+c.Problem, c.before
	}
}

func (c *chain) compare(h Head) {
	if m, ok := c.marks[h.Sequence]; ok && m.hash != h.Hash {
		c.problem("row %d was replaced: checkpoint %d of %s signed another one", h.Sequence, m.checkpoint, clock(m.time))
		return
	}
	c.Head = h
}

func (v *verifier) finish() Report {
	for _, name := range slices.Sorted(maps.Keys(v.chains)) {
		c := v.chains[name]
		c.removed()
		if c.Signed > c.Head.Sequence {
			m := c.marks[c.Signed]
			c.problem("%s missing: checkpoint %d of %s covers them", span(c.Head.Sequence+1, c.Signed), m.checkpoint, clock(m.time))
		}
		v.report.Tenants = append(v.report.Tenants, c.TenantReport)
	}
	return v.report
}

func span(from, to int64) string {
	if from == to {
		return fmt.Sprintf("row %d is", from)
	}
	return fmt.Sprintf("rows %d to %d are", from, to)
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// difference names the first column that does not follow from the bytes. Values
// are quoted: they are hostile.
func difference(want, got Columns) string {
	for _, f := range []struct {
		name      string
		want, got any
	}{
		{"tenant", want.Tenant, got.Tenant},
		{"sequence", want.Sequence, got.Sequence},
		{"time", want.Time, got.Time},
		{"subject", want.Subject, got.Subject},
		{"agent", want.Agent, got.Agent},
		{"tool", want.Tool, got.Tool},
		{"action", want.Action, got.Action},
		{"phase", want.Phase, got.Phase},
		{"decision", want.Decision, got.Decision},
		{"session_id", want.SessionID, got.SessionID},
		{"run_id", want.RunID, got.RunID},
		{"call_id", want.CallID, got.CallID},
		{"loose_call", want.LooseCall, got.LooseCall},
	} {
		if f.want != f.got {
			return fmt.Sprintf("its column %s says %s, its bytes say %s", f.name, quoted(f.got), quoted(f.want))
		}
	}
	return "its columns differ"
}

func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%+q", s)
	}
	return fmt.Sprint(v)
}
