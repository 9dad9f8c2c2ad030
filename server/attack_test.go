package server_test

import (
	"strings"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// answers are the code and the one public text of each reason (SECURITY 6).
var answers = map[string]struct {
	code codes.Code
	text string
}{
	"CREDENTIAL_INVALID": {codes.Unauthenticated, "the credential was not accepted; present a valid one"},
	"CREDENTIAL_EXPIRED": {codes.Unauthenticated, "the credential has expired; present a fresh one"},
	"KEYSET_UNAVAILABLE": {codes.Unavailable, "the issuer's keys cannot be had now; try again later"},
	"ARGUMENT_INVALID":   {codes.InvalidArgument, ""},
}

func wantRefused(t *testing.T, err error, why string) {
	t.Helper()
	wantError(t, err, answers[why].code, why)
	if got := status.Convert(err).Message(); answers[why].text != "" && got != answers[why].text {
		t.Errorf("got the text %q, want %q", got, answers[why].text)
	}
}

// TestNoBadTokenReachesAHandler sends the attack corpus, whose names begin with
// the line of SECURITY that they are for, through the whole chain of a unary call
// and of a stream. Good twins of every line show that not simply all is refused.
func TestNoBadTokenReachesAHandler(t *testing.T) {
	t.Parallel()
	forge, out := identitytest.NewForge(t, "forged", time.Now), make(chan seen, 64)
	w := newWorld(t, setup{optional: true, spies: []tools.Tool{peek(out)}, issuers: forge.Issuers()})
	conn := w.dial(nil)
	lines := map[string]bool{}
	bad := forge.Bad()
	if len(bad) < 90 {
		t.Errorf("got %d bad tokens, want 90 and more", len(bad))
	}

	for _, row := range bad {
		value := row.Token
		if strings.ContainsAny(value, "\n\r") {
			continue // no such header leaves a client
		}
		lines[row.Line] = true
		t.Run(row.Line+" "+row.Name, func(t *testing.T) {
			c := &client{conn, bearer(value)}
			_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"})
			wantRefused(t, err, string(row.Reason))
			_, err = c.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: "hello"})
			wantRefused(t, err, string(row.Reason))
		})
	}
	if len(out) > 0 {
		t.Fatalf("%d bad tokens reached a handler", len(out))
	}

	for _, row := range forge.Twins() {
		delete(lines, row.Line)
		t.Run(row.Line+" good: "+row.Name, func(t *testing.T) {
			c := &client{conn, bearer(row.Token)}
			if _, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil {
				t.Errorf("got %v, want it accepted", err)
			}
		})
	}
	for line := range lines {
		t.Errorf("line %s has bad tokens and no good one", line)
	}
	c := &client{conn, bearer(forge.Good())}
	if _, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"}); err != nil || len(out) != 1 {
		t.Errorf("got %v and %d calls, want a good token to reach the handler", err, len(out))
	}
}

// TestSmuggledCredentialsAreRefused is SECURITY 1.17 and 4.6: of two credentials
// none is chosen.
func TestSmuggledCredentialsAreRefused(t *testing.T) {
	t.Parallel()
	out := make(chan seen, 64)
	w := newWorld(t, setup{spies: []tools.Tool{peek(out)}})
	app := w.dial(w.workload(w.acme, "/app"))
	good, second := w.token(w.idp, alice, nil), w.token(w.idp, bob, nil)
	call := func(t *testing.T, pairs ...string) error {
		c := &client{app, metadata.Pairs(pairs...)}
		_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"})
		return err
	}
	many := make([]string, 0, 140)
	for range 70 {
		many = append(many, "x-much", "1")
	}

	for name, row := range map[string]struct {
		why   string
		pairs []string
	}{
		"1.17 two values":                {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good, "authorization", "Bearer " + second}},
		"1.17 the same value twice":      {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good, "authorization", "Bearer " + good}},
		"1.17 a good and an empty value": {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good, "authorization", ""}},
		"1.17 two keys that fold":        {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good, "Authorization", "Bearer " + second}},
		"1.17 joined by a comma":         {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good + ",Bearer " + second}},
		"1.17 joined by comma and space": {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good + ", Bearer " + second}},
		"1.17 two spaces":                {"CREDENTIAL_INVALID", []string{"authorization", "Bearer  " + good}},
		"1.17 no scheme":                 {"CREDENTIAL_INVALID", []string{"authorization", good}},
		"1.17 no token":                  {"CREDENTIAL_INVALID", []string{"authorization", "Bearer "}},
		"1.17 only the scheme":           {"CREDENTIAL_INVALID", []string{"authorization", "Bearer"}},
		"1.17 an empty value":            {"CREDENTIAL_INVALID", []string{"authorization", ""}},
		"1.17 Basic":                     {"CREDENTIAL_INVALID", []string{"authorization", "Basic " + good}},
		"1.17 DPoP":                      {"CREDENTIAL_INVALID", []string{"authorization", "DPoP " + good}},
		"1.17 after the token":           {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good + " x"}},
		"1.17 a second place":            {"CREDENTIAL_INVALID", []string{"authorization", "Bearer " + good, "x-access-token", second}},
		"1.17 proxy-authorization":       {"CREDENTIAL_INVALID", []string{"proxy-authorization", "Bearer " + good}},
		"1.17 x-forwarded-access-token":  {"CREDENTIAL_INVALID", []string{"x-forwarded-access-token", good}},
		"1.17 x-id-token":                {"CREDENTIAL_INVALID", []string{"x-id-token", good}},
		"4.6 authorization-bin":          {"ARGUMENT_INVALID", []string{"authorization-bin", "Bearer " + good}},
		"4.6 x-user-id-bin":              {"ARGUMENT_INVALID", []string{"authorization", "Bearer " + good, "x-user-id-bin", "bob"}},
		"4.6 traceparent-bin":            {"ARGUMENT_INVALID", []string{"authorization", "Bearer " + good, "traceparent-bin", "x"}},
		"4.6 more than 64 entries":       {"ARGUMENT_INVALID", append(many, "authorization", "Bearer "+good)},
		"4.6 a value of more than 8 KiB": {"ARGUMENT_INVALID", []string{"authorization", "Bearer " + good, "x-long", strings.Repeat("x", 8<<10+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, call(t, row.pairs...), row.why)
		})
	}
	if len(out) > 0 {
		t.Errorf("%d of them reached the handler", len(out))
	}
	for name, value := range map[string]string{"as it should be": "Bearer " + good, "scheme in lower case": "bearer " + good} {
		if err := call(t, "authorization", value); err != nil {
			t.Errorf("%s: got %v, want it accepted", name, err)
		}
	}
}
