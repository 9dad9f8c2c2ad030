package tools

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Effect says what a call does to the world.
type Effect string

// Effects. What is not declared read is a write.
const (
	Read  Effect = "read"
	Write Effect = "write"
)

// Owner says which fact of the caller an owner-typed parameter must equal.
type Owner string

// Owner facts of DESIGN 6.
const (
	OwnerSubject Owner = "subject"
	OwnerEmail   Owner = "email"
	OwnerTenant  Owner = "tenant"
)

// Descriptor is what the gate must know of a tool. It is immutable once a
// registry holds it.
type Descriptor struct {
	Name        string // ^[a-z0-9_]{1,64}$, global
	Toolset     string
	Description string
	Schema      json.RawMessage // JSON Schema of the arguments, an object without unknown fields
	Result      json.RawMessage // JSON Schema of the results; nil: unknown
	Scopes      []string        // required, all of them
	Effect      Effect
	Risk        string // low, medium, high; empty: low
	Idempotent  bool
	Owners      map[string]Owner // parameter → fact
	Audience    string           // of the backend's per-call token; empty in process
	Hides       []string         `json:",omitempty"` // fields that are taken out of its results as its backend says, sorted; nil: none
	Behind      string           // what does the calls, in words that differ where it does; never shown
}

// Hash is the hex SHA-256 of the descriptor: a changed tool is another tool to
// an approval or an auditor.
func (d *Descriptor) Hash() string {
	b, err := json.Marshal(d)
	if err != nil {
		panic("tools: descriptor cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Demands is what of a descriptor [Descriptor.Weaker] compares.
func (d *Descriptor) Demands() Descriptor {
	return Descriptor{Scopes: d.Scopes, Effect: d.Effect, Risk: d.Risk, Idempotent: d.Idempotent, Owners: d.Owners, Hides: d.Hides}
}

// Weaker says what a tool that takes the place of another one asks less of its callers
// than that did, or what it does not hide from them any more; empty: nothing.
func (d *Descriptor) Weaker(than *Descriptor) string {
	for _, s := range than.Scopes {
		if !slices.Contains(d.Scopes, s) {
			return "it does not need the scope " + s + " any more"
		}
	}
	for param, fact := range than.Owners {
		if d.Owners[param] != fact {
			return "its parameter " + param + " is not the caller's any more"
		}
	}
	for _, field := range than.Hides {
		if _, hidden := slices.BinarySearch(d.Hides, field); !hidden {
			return "it does not hide the field " + field + " any more, nor is that name reserved"
		}
	}
	switch {
	case than.Effect != Read && d.Effect == Read:
		return "it is said to read only"
	case d.Idempotent && !than.Idempotent:
		return "it is said to be idempotent"
	case max(0, slices.Index(validRisks, d.Risk)) < slices.Index(validRisks, than.Risk): // unsaid is low
		return "its risk is said to be lower"
	}
	return ""
}

// Tool is a descriptor and the thing behind it. Call gets the arguments that
// passed the gate, exact JSON text; the grant is in ctx. An error is a failed
// result for the model; its text is hostile and is bounded by the gate.
type Tool struct {
	Descriptor
	Call func(ctx context.Context, args json.RawMessage) (json.RawMessage, error)
	// Timeout is how long a call may take: if it only reads as long as this says, if it
	// writes no longer than the gate's limit, for nothing ends a write before. Zero: what
	// the gate's limits say.
	Timeout time.Duration
	// Inline says that Call ends as soon as its context does, whatever its backend does,
	// tells no progress and never calls runtime.Goexit. The gate then calls it on the
	// goroutine of the call; any other tool gets one of its own, which can be given up,
	// and that takes 20 to 50 µs.
	Inline bool
	// Sends is what a call of this tool is at its backend, for callers that make it
	// themselves, see [Elsewhere]. Nil: nobody but the tool can know, or it takes
	// something out of the answers, so that such a caller gets no token.
	Sends *Sends
	// Revision is how its source tells this form of the tool from another one that has
	// the same descriptor, such as other numbers of the same fields. Not in Hash.
	Revision string
	// Offered says that the name is the choice of a backend, and of nothing that the
	// operator wrote: it gives way to every other, see [Registry.Left].
	Offered bool

	callIn func(context.Context, Origin, json.RawMessage) (json.RawMessage, error) // made by FuncIn: instead of Call
	nested bool                                                                    // made by Nested: what is behind it comes with the call
	err    error                                                                   // why Func could not make it; NewRegistry says so
}

// Sends says what leaves for a backend that verifies call tokens.
type Sends struct {
	Backend Backend
	// Payload gives the bytes that the backend gets, and digests, for arguments. Nil:
	// the arguments as they are.
	Payload func(args json.RawMessage) ([]byte, error)
}

// Origin is where a call comes from, as the gate knows it and never as an
// argument says: the run that the agent is in, or the session that the caller of
// a direct call named and owns.
type Origin struct {
	SessionID string // empty: no session
}

// from makes the call.
func (t *Tool) from(ctx context.Context, o Origin, args json.RawMessage) (json.RawMessage, error) {
	if t.callIn != nil {
		return t.callIn(ctx, o, args)
	}
	return t.Call(ctx, args)
}
