package audit

import (
	"bytes"
	"errors"
	"fmt"
)

// Canonical gives the exact bytes that are hashed and stored: RFC 8785 JSON of
// all fields but Hash, always all of them, under the names of AuditRecord.
//
// Every integer is a decimal string, as in protobuf's JSON. RFC 8785 stands on
// I-JSON, where a number is a double: nanoseconds since 1970 passed 2^53 long
// ago, and a time that a reader rounds is not the time that was signed.
//
// Bytes that are not UTF-8 become U+FFFD, because JSON cannot hold them and a
// record must not be lost over them. See Seal.
func (r *Record) Canonical() []byte {
	w := newWriter(r)
	layoutRecord(w, r)
	return w.b
}

var errNotCanonical = errors.New("not the canonical form")

// Parse reads canonical bytes. It is strict: what it accepts is byte for byte
// what Canonical writes for the answer. Hash is set to the hash of the bytes.
func Parse(body []byte) (Record, error) {
	var r Record
	d := reader{s: string(body)}
	layoutRecord(&d, &r)
	if err := d.end(); err != nil {
		return Record{}, fmt.Errorf("audit record: %w", err)
	}
	if !bytes.Equal(r.Canonical(), body) {
		return Record{}, fmt.Errorf("audit record: %w", errNotCanonical)
	}
	r.Hash = hashOf(body)
	return r, nil
}

// codec is one walk over a layout: the writer puts each value after its literal,
// the reader expects the literal and takes the value. One layout for both, so
// they cannot drift.
type codec interface {
	lit(s string)
	text(lit string, v *string)
	list(lit string, v *[]string)
	num(lit string, v *int64)
	flag(lit string, v *bool)
}

// layoutRecord names the members in the order of RFC 8785: sorted by name. The
// literals hold all punctuation, so a value costs one copy.
func layoutRecord(c codec, r *Record) {
	c.text(`{"action":`, &r.Action)
	c.text(`,"agent":`, &r.Agent)
	c.text(`,"approval_id":`, &r.ApprovalID)
	c.text(`,"approver":`, &r.Approver)
	c.text(`,"arguments_digest":`, &r.ArgumentsDigest)
	c.text(`,"auth":{"acr":`, &r.ACR)
	c.list(`,"amr":`, &r.AMR)
	c.num(`,"time":`, &r.AuthTime)
	c.text(`},"call_id":`, &r.CallID)
	c.text(`,"decision":`, &r.Decision)
	c.list(`,"delegation_chain":`, &r.Chain)
	c.text(`,"descriptor_hash":`, &r.DescriptorHash)
	c.num(`,"duration":`, &r.Duration)
	c.list(`,"duties":`, &r.Duties)
	c.flag(`,"governed":`, &r.Governed)
	c.text(`,"grant_id":`, &r.GrantID)
	c.text(`,"leaf_thumbprint":`, &r.LeafThumbprint)
	c.text(`,"outcome":`, &r.Outcome)
	c.text(`,"phase":`, (*string)(&r.Phase))
	c.list(`,"policy_ids":`, &r.PolicyIDs)
	c.text(`,"policy_revision":`, &r.PolicyRevision)
	c.text(`,"previous_hash":`, &r.PreviousHash)
	c.text(`,"reason":`, &r.Reason)
	c.text(`,"redacted_arguments_json":`, &r.RedactedArguments)
	c.text(`,"resource":`, &r.Resource)
	c.text(`,"resource_json":`, &r.ResourceJSON)
	c.text(`,"result_digest":`, &r.ResultDigest)
	c.list(`,"roles":`, &r.Roles)
	c.flag(`,"roles_unknown":`, &r.RolesUnknown)
	c.text(`,"run_id":`, &r.RunID)
	c.list(`,"scopes":`, &r.Scopes)
	c.num(`,"sequence":`, &r.Sequence)
	c.text(`,"session_id":`, &r.SessionID)
	c.text(`,"tenant":`, &r.Tenant)
	c.text(`,"tier":`, &r.Tier)
	c.num(`,"time":`, &r.Time)
	c.text(`,"token_id":`, &r.TokenID)
	c.text(`,"tool":`, &r.Tool)
	c.text(`,"trace_id":`, &r.TraceID)
	c.text(`,"user":{"email":`, &r.User.Email)
	c.text(`,"issuer":`, &r.User.Issuer)
	c.text(`,"subject":`, &r.User.Subject)
	c.text(`},"workload":`, &r.Workload)
	c.lit(`}`)
}

// fixedBytes is a bit more than a record's names, punctuation and digests, so
// that the writer grows at most once.
const fixedBytes = 1792

func newWriter(r *Record) *writer {
	return &writer{b: make([]byte, 0, fixedBytes+len(r.RedactedArguments)*9/8)}
}
