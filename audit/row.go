package audit

import (
	"context"
	"iter"
	"strings"
	"unicode/utf8"
)

// Row is one stored row as it was found, not yet believed.
type Row struct {
	Columns
	Hash string
	Body []byte
}

// Columns is what a store keeps beside the bytes to find rows by. All of it
// follows from the bytes, and Verify derives it again and compares.
type Columns struct {
	Tenant    string
	Sequence  int64
	Time      int64
	Subject   string
	Agent     string
	Tool      string
	Action    string
	Phase     string
	Decision  string
	SessionID string
	RunID     string
	CallID    string
	LooseCall string // the id of a tool's call, unless it begins with its run's (DESIGN 9) and is found by that
}

// Columns derives the index columns of r.
func (r *Record) Columns() Columns {
	c := Columns{
		Tenant: column(r.Tenant), Sequence: r.Sequence, Time: r.Time,
		Subject: column(r.User.Subject), Agent: column(r.Agent), Tool: column(r.Tool),
		Action: column(r.Action), Phase: column(string(r.Phase)), Decision: column(r.Decision),
		SessionID: column(r.SessionID), RunID: column(r.RunID), CallID: column(r.CallID),
	}
	// Nobody looks for the calls of RPCs. Their ids are random, so an index of them
	// would have every commit write a page for each.
	if c.Tool != "" && (CallRun(c.CallID) != c.RunID || c.RunID == "") {
		c.LooseCall = c.CallID
	}
	return c
}

// CallRun is the run that a call id names (DESIGN 9), empty if none.
func CallRun(callID string) string {
	return callID[:max(strings.LastIndexByte(callID, '/'), 0)]
}

// maxColumn keeps hostile names (a tool's name is whatever a model wrote) below
// what a database can index.
const maxColumn = 512

// column makes a value fit for an index: no NUL, which Postgres refuses in text,
// and bounded.
func column(s string) string {
	if len(s) > maxColumn {
		end := maxColumn
		for !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}

// Filter says which records are wanted. Empty fields do not filter; Tenant is
// required and comes from the caller's verified identity.
type Filter struct {
	Tenant    string
	User      string // subject
	Tool      string
	Agent     string
	Decision  string
	RunID     string
	SessionID string
	Since     int64 // nanoseconds, inclusive; 0: from the beginning
	Until     int64 // nanoseconds, exclusive; 0: to the end
	Limit     int   // only the newest so many, oldest first; 0: all
}

// Columns gives the filter's values as the index columns hold them.
func (f Filter) Columns() Columns {
	return Columns{
		Tenant: column(f.Tenant), Subject: column(f.User), Agent: column(f.Agent), Tool: column(f.Tool),
		Decision: column(f.Decision), SessionID: column(f.SessionID), RunID: column(f.RunID),
	}
}

// Match says whether r is wanted, Limit aside.
func (f Filter) Match(r *Record) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return f.Tenant == r.Tenant && is(f.User, r.User.Subject) && is(f.Tool, r.Tool) && is(f.Agent, r.Agent) &&
		is(f.Decision, r.Decision) && is(f.RunID, r.RunID) && is(f.SessionID, r.SessionID) &&
		(f.Since == 0 || r.Time >= f.Since) && (f.Until == 0 || r.Time < f.Until)
}

// Querier reads records back, oldest first. An error is the last element.
type Querier interface {
	Query(ctx context.Context, f Filter) iter.Seq2[Record, error]
}
