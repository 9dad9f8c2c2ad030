package audit

import "time"

// Record is one row of the audit log, in plain values so that it depends on
// nothing that may change its meaning later. The Guard fills it.
//
// Sequence, PreviousHash and Hash are set by Seal, inside the writer's
// transaction; everybody else leaves them empty.
type Record struct {
	Sequence int64  // per tenant, gapless from 1
	Time     int64  // UTC, nanoseconds since 1970
	Tenant   string // verified; "system" for what belongs to no tenant

	User           User   // empty for a workload that calls alone
	Workload       string // SPIFFE ID, empty without a client certificate
	LeafThumbprint string // base64url SHA-256 of the peer's leaf
	Agent          string // who acts: the chain's last
	Chain          []string
	GrantID        string
	Roles          []string // sorted
	RolesUnknown   bool     // the issuer left roles out
	Scopes         []string // effective, sorted
	ACR            string
	AMR            []string // as the token lists them
	AuthTime       int64    // nanoseconds, 0 when unknown
	Tier           string
	TokenID        string

	SessionID    string
	RunID        string
	TraceID      string
	CallID       string
	Phase        Phase
	Action       string // Cedar action, e.g. call_tool
	Resource     string // Cedar entity, e.g. Tool::"refund_order"
	ResourceJSON string // its owner and parents as policy saw them, JSON text; empty: none
	Tool         string

	DescriptorHash    string // of the tool's descriptor at the time
	ArgumentsDigest   string // HMAC-SHA256 with the tenant's key, over the sent bytes
	RedactedArguments string // JSON text; what was redacted is marked

	Decision       string // allow, deny, wait
	Reason         string // ErrorReason name, empty on allow
	PolicyIDs      []string
	PolicyRevision string
	Duties         []string // as written in the policy, sorted
	ApprovalID     string
	Approver       string

	Outcome      string // succeeded, failed, cancelled, unknown
	ResultDigest string
	Duration     int64 // nanoseconds
	Governed     bool  // false only for rows taken from the journal

	PreviousHash string // hex SHA-256 of the row before, empty for the first
	Hash         string // hex SHA-256 over the canonical bytes of all fields but itself
}

// User names the person in a record.
type User struct{ Issuer, Subject, Email string }

// Phase says which half of an effect a record is.
type Phase string

// Phases of DESIGN 8.
const (
	Decision  Phase = "decision"
	Outcome   Phase = "outcome"
	Abandoned Phase = "abandoned" // a decision without outcome, found after a crash
)

// Decisions of a record.
const (
	Allow = "allow"
	Deny  = "deny"
	Wait  = "wait"
)

// Reservation takes Cost from a bucket of Limit per Window in the same
// transaction as the decision it belongs to.
type Reservation struct {
	Bucket string // policy id and person; opaque to the sink
	Cost   int64
	Limit  int64
	Window time.Duration
	Reason string // of the denial when it does not fit; empty: RATE_LIMITED
	// Probe takes nothing: there must be room for Cost, that is all.
	Probe bool
}

// Entry is one append: a record and what must be had with it. If a bucket cannot
// cover its reservation, or an approval is not to be taken, nothing is taken and
// the record is sealed as a denial with that reason; Receipt.Wait then returns
// *Exhausted.
type Entry struct {
	Record  *Record
	Reserve []Reservation
	Ask     *Ask  // nil: the call waits for nobody
	Take    *Take // nil: it needs no approval
	// Journal allows a sink that cannot write the row into the log to keep it in a
	// journal first, from where it comes into the log once, later and not governed.
	// What claims something cannot be kept there.
	Journal bool
}
