package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gowebpki/jcs"
)

// oracle is the record's canonical form by way of encoding/json and an
// independent RFC 8785 implementation.
func oracle(t testing.TB, r *audit.Record) []byte {
	t.Helper()
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	list := func(s []string) []string { return append([]string{}, s...) }
	text, err := json.Marshal(map[string]any{
		"sequence": num(r.Sequence), "time": num(r.Time), "tenant": r.Tenant,
		"user":     map[string]any{"issuer": r.User.Issuer, "subject": r.User.Subject, "email": r.User.Email},
		"workload": r.Workload, "leaf_thumbprint": r.LeafThumbprint, "agent": r.Agent, "delegation_chain": list(r.Chain),
		"grant_id": r.GrantID, "roles": list(r.Roles), "scopes": list(r.Scopes),
		"auth": map[string]any{"acr": r.ACR, "amr": list(r.AMR), "time": num(r.AuthTime)}, "tier": r.Tier, "session_id": r.SessionID, "run_id": r.RunID,
		"trace_id": r.TraceID, "call_id": r.CallID, "phase": r.Phase, "action": r.Action, "resource": r.Resource, "resource_json": r.ResourceJSON, "roles_unknown": r.RolesUnknown, "tool": r.Tool,
		"descriptor_hash": r.DescriptorHash, "arguments_digest": r.ArgumentsDigest, "redacted_arguments_json": r.RedactedArguments,
		"decision": r.Decision, "reason": r.Reason, "policy_ids": list(r.PolicyIDs), "policy_revision": r.PolicyRevision,
		"duties": list(r.Duties), "approval_id": r.ApprovalID, "approver": r.Approver, "token_id": r.TokenID, "outcome": r.Outcome,
		"result_digest": r.ResultDigest, "duration": num(r.Duration), "governed": r.Governed, "previous_hash": r.PreviousHash,
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := jcs.Transform(text)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// sample is a record as the Guard fills it for a tool call.
func sample() audit.Record {
	return audit.Record{
		Time: 1_790_000_000_123_456_789, Tenant: "acme",
		User:     audit.User{Issuer: "https://idp.example", Subject: "alice", Email: "alice@corp.example"},
		Workload: "spiffe://corp.example/ns/chat/sa/frontend", LeafThumbprint: strings.Repeat("A", 43), Agent: "refunds",
		Chain: []string{"support", "refunds"}, GrantID: "grt_abcdefghijklmnopqrstuvwxyz", Roles: []string{"agent", "manager"},
		Scopes: []string{"crm.read", "orders.refund"}, ACR: "mfa", AMR: []string{"pwd", "otp"}, AuthTime: 1_789_999_000_000_000_000, Tier: "interactive",
		TokenID: "jti-1", SessionID: "ses_abcdefghijklmnopqrstuvwxyz", RunID: "run_abcdefghijklmnopqrstuvwxyz",
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", CallID: "run_abcdefghijklmnopqrstuvwxyz/12", Phase: audit.Decision,
		Action: "call_tool", Resource: `Tool::"refund_order"`, Tool: "refund_order", DescriptorHash: strings.Repeat("d", 64),
		ArgumentsDigest: strings.Repeat("a", 64), RedactedArguments: `{"amount":12,"note":"<redacted>","order":"O-1"}`,
		Decision: audit.Allow, PolicyIDs: []string{"refund-own"}, PolicyRevision: "rev-7", Duties: []string{`@rate("60/1m")`}, Governed: true,
	}
}

// randomRecord fills every field through reflection, so that a field which the
// layout forgets is found.
func randomRecord(rnd *rand.Rand) audit.Record {
	var r audit.Record
	fill(rnd, reflect.ValueOf(&r).Elem())
	r.Hash = ""
	return r
}

func fill(rnd *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rnd, v.Field(i))
		}
	case reflect.String:
		v.SetString(randomText(rnd))
	case reflect.Int64:
		v.SetInt(int64(rnd.Uint64()))
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 1)
	case reflect.Slice:
		s := make([]string, rnd.IntN(4))
		for i := range s {
			s[i] = randomText(rnd)
		}
		v.Set(reflect.ValueOf(s))
	}
}

func randomText(rnd *rand.Rand) string {
	var b strings.Builder
	for range rnd.IntN(12) {
		switch rnd.IntN(5) {
		case 0:
			b.WriteRune(rune(rnd.IntN(0x80)))
		case 1:
			b.WriteRune(rune(rnd.IntN(0x110000))) // surrogates become U+FFFD
		case 2:
			b.WriteString([]string{`"`, `\`, "\u2028", "<&>", "\x7f", "/", "\x00", "\ufffd", "€", "😀"}[rnd.IntN(10)])
		default:
			b.WriteByte(byte('a' + rnd.IntN(26)))
		}
	}
	return b.String()
}

func TestCanonicalIsRFC8785(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		r := randomRecord(rnd)

		got := r.Canonical()

		if want := oracle(t, &r); !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func TestParseGivesBackTheRecord(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		r := randomRecord(rnd)
		body := r.Canonical()

		got, err := audit.Parse(body)
		if err != nil {
			t.Fatal(err)
		}

		if diff := cmp.Diff(got, r, cmpopts.IgnoreFields(audit.Record{}, "Hash"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("got, want:\n%s", diff)
		}
	}
}

func TestParseKeepsTheLimitsOfIntegers(t *testing.T) {
	for _, n := range []int64{0, 1, -1, 1<<53 + 1, math.MaxInt64, math.MinInt64} {
		r := audit.Record{Sequence: n, Time: n, AuthTime: n, Duration: n}

		got, err := audit.Parse(r.Canonical())

		if err != nil || got.Sequence != n || got.Time != n || got.AuthTime != n || got.Duration != n {
			t.Errorf("got %+v, %v, want %d", got, err, n)
		}
	}
}

func TestParseRefusesWhatIsNotCanonical(t *testing.T) {
	r := sample()
	r.Reason = "a\nb"
	body := string(r.Canonical())
	for name, bad := range map[string]string{
		"empty":          "",
		"trailing":       body + " ",
		"space":          strings.Replace(body, `,"agent"`, `, "agent"`, 1),
		"missing":        strings.Replace(body, `"tool":"refund_order",`, ``, 1),
		"unknown":        strings.Replace(body, `,"tool"`, `,"too":"","tool"`, 1),
		"duplicate":      strings.Replace(body, `,"tool"`, `,"tool":"x","tool"`, 1),
		"long escape":    strings.Replace(body, `a\nb`, `a\u000ab`, 1),
		"upper hex":      strings.Replace(body, `a\nb`, `a\u001Fb`, 1),
		"solidus":        strings.Replace(body, `a\nb`, `a\/b`, 1),
		"surrogate":      strings.Replace(body, `a\nb`, `a\ud800b`, 1),
		"raw control":    strings.Replace(body, `a\nb`, "a\nb", 1),
		"not UTF-8":      strings.Replace(body, `a\nb`, "a\xffb", 1),
		"number":         strings.Replace(body, `"sequence":"0"`, `"sequence":0`, 1),
		"leading zero":   strings.Replace(body, `"sequence":"0"`, `"sequence":"00"`, 1),
		"plus":           strings.Replace(body, `"sequence":"0"`, `"sequence":"+0"`, 1),
		"minus zero":     strings.Replace(body, `"sequence":"0"`, `"sequence":"-0"`, 1),
		"too large":      strings.Replace(body, `"sequence":"0"`, `"sequence":"9223372036854775808"`, 1),
		"null list":      strings.Replace(body, `"policy_ids":["refund-own"]`, `"policy_ids":null`, 1),
		"trailing comma": strings.Replace(body, `["refund-own"]`, `["refund-own",]`, 1),
		"truth":          strings.Replace(body, `"governed":true`, `"governed":True`, 1),
	} {
		if bad == body {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if _, err := audit.Parse([]byte(bad)); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
	}
}

func TestSealKeepsTheRecordEqualToWhatIsStored(t *testing.T) {
	r := sample()
	r.Tool = "evil\xff\xfetool"

	body := audit.Seal(audit.Head{Sequence: 4, Hash: "ab"}, &r)

	stored, err := audit.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored, r, cmpopts.EquateEmpty()); diff != "" || r.Sequence != 5 || r.PreviousHash != "ab" || r.Tool != "evil\ufffd\ufffdtool" {
		t.Errorf("got, want:\n%s\n%+v", diff, r)
	}
}

func TestColumnsFitADatabase(t *testing.T) {
	r := audit.Record{Tool: "a\x00b" + strings.Repeat("é", 600), Agent: strings.Repeat("x", 511) + "é"}

	got := r.Columns()

	if len(got.Tool) > 520 || !strings.HasPrefix(got.Tool, "a\ufffdb") || got.Agent != strings.Repeat("x", 511) {
		t.Errorf("got %q, %q", got.Tool, got.Agent)
	}
}

func FuzzParse(f *testing.F) {
	r := sample()
	f.Add(r.Canonical())
	f.Add(new(audit.Record).Canonical())
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := audit.Parse(body)
		if err != nil {
			return
		}
		if !bytes.Equal(got.Canonical(), body) {
			t.Fatalf("accepted %q, writes %q", body, got.Canonical())
		}
		if want := oracle(t, &got); !bytes.Equal(body, want) {
			t.Fatalf("accepted %q, RFC 8785 is %q", body, want)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	f.Add("tool", "\x00\x1f\"\\\ufffd", int64(1<<60), true)
	f.Fuzz(func(t *testing.T, a, b string, n int64, g bool) {
		r := audit.Record{Tool: a, User: audit.User{Subject: b}, Chain: []string{a, b}, Time: n, Governed: g}
		if got, want := r.Canonical(), oracle(t, &r); !bytes.Equal(got, want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	r := sample()
	var head audit.Head
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(audit.Seal(head, &r))))
		head = r.Head()
	}
}

// BenchmarkHash is the floor of BenchmarkSeal: the hash alone.
func BenchmarkHash(b *testing.B) {
	r := sample()
	body := r.Canonical()
	for b.Loop() {
		sha256.Sum256(body)
	}
}

func BenchmarkParse(b *testing.B) {
	r := sample()
	body := audit.Seal(audit.Head{}, &r)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audit.Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}
