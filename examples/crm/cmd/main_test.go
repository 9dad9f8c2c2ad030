package main_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const issuer = "https://behalf.example"

// world is the program as a process, and behalf's side of it: an authority, SVIDs
// and the keys of call tokens.
type world struct {
	t     *testing.T
	ca    *identity.DevCA
	keys  *calltoken.Keys
	old   *calltoken.Keys // the same keys, by a clock that is late
	jwks  []byte
	svid  *identity.SVID
	addr  string
	lines chan string // what the program writes
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Files("/crm")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: ca, lines: make(chan string, 64)}
	file, late := filepath.Join(dir, "keys"), func() time.Time { return time.Now().Add(-calltoken.Life - time.Minute) }
	w.old, w.keys = newKeys(t, file, late), newKeys(t, file, nil)
	if w.jwks, err = w.keys.JWKS(); err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(public, w.jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	w.svid = identitytest.Issue(t, ca, "/behalf")
	w.start("-listen", "127.0.0.1:0", "-cert", own.Cert, "-key", own.Key, "-ca", own.Bundle, "-issuer", issuer, "-jwks", public)
	return w
}

func newKeys(t *testing.T, file string, now func() time.Time) *calltoken.Keys {
	t.Helper()
	k, err := calltoken.NewKeys(calltoken.KeysConfig{File: file, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start builds the program and runs it until the test ends.
func (w *world) start(args ...string) {
	w.t.Helper()
	program := filepath.Join(w.t.TempDir(), "crm")
	if out, err := exec.CommandContext(w.t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		w.t.Fatalf("build: %v\n%s", err, out)
	}
	c := exec.Command(program, args...)
	out, err := c.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { // ends with the program
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	w.t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		for range w.lines { // until it has ended
		}
		if err := c.Wait(); err != nil {
			w.t.Errorf("the program ended with %v", err)
		}
	})
	_, w.addr, _ = strings.Cut(w.wrote(), "serving customers on ")
}

// wrote is the next line of the program.
func (w *world) wrote() string {
	w.t.Helper()
	select {
	case line := <-w.lines:
		return line
	case <-time.After(time.Minute):
		w.t.Fatal("the program wrote nothing")
		return ""
	}
}

// connect dials as a workload.
func (w *world) connect(s *identity.SVID) *grpc.ClientConn {
	w.t.Helper()
	source := identitytest.NewSource(w.t, w.ca, "/behalf")
	source.Use(s)
	config, err := identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{"spiffe://dev.behalf/crm"}})
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask is the call that alice's support agent makes for customer C-1001.
func ask() *crmv1.GetCustomerRequest { return &crmv1.GetCustomerRequest{CustomerId: "C-1001"} }

// claims are those of a token for ask, with a change.
func (w *world) claims(edit func(*calltoken.Claims)) calltoken.Claims {
	w.t.Helper()
	sent, err := proto.Marshal(ask())
	if err != nil {
		w.t.Fatal(err)
	}
	chain := []calltoken.Actor{{Subject: "triage", Profile: "agent"}, {Subject: "support", Profile: "agent"}}
	c := calltoken.Claims{
		Issuer: issuer, Subject: "alice", Actor: calltoken.Chain(w.svid.ID, chain), ClientID: w.svid.ID, Audience: "crm", Scope: "crm.read", Tenant: "acme",
		Transaction: "t", Tool: "get_customer", ToolVersion: "v", Arguments: calltoken.Digest(sent), Decision: calltoken.Decision{ID: "run_1/7"},
		Confirmation: calltoken.Confirmation{Thumbprint: w.svid.Thumbprint},
	}
	if edit != nil {
		edit(&c)
	}
	return c
}

func (w *world) mint(k *calltoken.Keys, edit func(*calltoken.Claims)) string {
	w.t.Helper()
	token, err := k.Mint(w.claims(edit), calltoken.TypeCall, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	return token.Reveal()
}

// forged is a token that nobody signed with the key that is published: by no
// algorithm, or by one whose key is the public text.
func (w *world) forged(alg string) string {
	w.t.Helper()
	c := w.claims(nil)
	c.ID, c.IssuedAt, c.NotBefore, c.Expires = "forged-"+alg, time.Now().Unix(), time.Now().Unix(), time.Now().Add(time.Minute).Unix()
	payload, err := json.Marshal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(w.jwks, &set); err != nil {
		w.t.Fatal(err)
	}
	text := enc([]byte(`{"alg":"`+alg+`","typ":"agent-call+jwt","kid":"`+set.Keys[0].Kid+`"}`)) + "." + enc(payload)
	mac := hmac.New(sha256.New, w.jwks)
	mac.Write([]byte(text))
	return text + "." + enc(mac.Sum(nil))
}

// TestAProgramWithOnlyTheVerifierRefusesEveryForgedCall runs the backend as a process
// that has nothing of behalf but the verifier (arch_test.go holds that), and calls it
// as behalf would and as a thief would.
func TestAProgramWithOnlyTheVerifierRefusesEveryForgedCall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	w := newWorld(t)
	other := identitytest.Issue(t, w.ca, "/other")
	ours, theirs := w.connect(w.svid), w.connect(other)
	once := w.mint(w.keys, nil)

	if err := call(t, ours, "Bearer "+once, ask()); err != nil {
		t.Fatalf("the good call: %v", err)
	}
	if got, want := w.wrote(), "crm: get_customer for alice through triage›support, customer C-1001, decision run_1/7, txn t"; got != want {
		t.Errorf("got the line %q, want %q", got, want)
	}

	for name, c := range map[string]struct {
		conn  *grpc.ClientConn
		token string
		q     *crmv1.GetCustomerRequest
		why   string
	}{
		"second use":              {ours, once, ask(), "the token was used before"},
		"other workload":          {theirs, w.mint(w.keys, nil), ask(), "the token is bound to another certificate"},
		"other workload's own":    {theirs, w.mint(w.keys, func(c *calltoken.Claims) { c.ClientID, c.Confirmation.Thumbprint = other.ID, other.Thumbprint }), ask(), "the workload may not call here"},
		"renewed certificate":     {w.connect(identitytest.Issue(t, w.ca, "/behalf")), w.mint(w.keys, nil), ask(), "the token is bound to another certificate"},
		"other tool":              {ours, w.mint(w.keys, func(c *calltoken.Claims) { c.Tool = "list_orders" }), ask(), "the token is for another tool"},
		"changed arguments":       {ours, w.mint(w.keys, nil), &crmv1.GetCustomerRequest{CustomerId: "C-1002"}, "the token is for other arguments"},
		"expired":                 {ours, w.mint(w.old, nil), ask(), "the token has ended"},
		"other audience":          {ours, w.mint(w.keys, func(c *calltoken.Claims) { c.Audience = "erp" }), ask(), "the token is for another audience"},
		"other issuer":            {ours, w.mint(w.keys, func(c *calltoken.Claims) { c.Issuer = "https://other.example" }), ask(), "issuer"},
		"other key":               {ours, w.mint(newKeys(t, "", nil), nil), ask(), "key"},
		"no algorithm":            {ours, w.forged("none"), ask(), "alg"},
		"the public key as a MAC": {ours, w.forged("HS256"), ask(), "alg"},
		"a duty nobody knows":     {ours, w.mint(w.keys, func(c *calltoken.Claims) { c.Decision.Effects = []string{"redact:card"} }), ask(), "the obligation"},
		"an empty token":          {ours, "", ask(), "token"},
	} {
		w.refuses(name, call(t, c.conn, "Bearer "+c.token, c.q), c.why)
	}
	w.refuses("no token", call(t, ours, "", ask()), "there is not one authorization")
}

// refuses checks that the caller hears nothing of why, and the log all of it.
func (w *world) refuses(name string, err error, why string) {
	w.t.Helper()
	if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "the call token was not accepted" {
		w.t.Errorf("%s: got %v, want it refused", name, err)
		return
	}
	if line := w.wrote(); !strings.HasPrefix(line, "crm: a call was refused, tool get_customer, why ") || !strings.Contains(line, why) {
		w.t.Errorf("%s: got the line %q, want %q", name, line, why)
	}
}

func call(t *testing.T, conn *grpc.ClientConn, authorization string, q *crmv1.GetCustomerRequest) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, calltoken.Header, authorization)
	}
	_, err := crmv1.NewCustomersServiceClient(conn).GetCustomer(ctx, q)
	return err
}
