package exchange_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/exchange"
)

// keycloak is a real authorization server. Its standard token exchange is that of
// RFC 8693 without actors, so it never says `act`.
type keycloak struct {
	t     *testing.T
	plain string // http
	https string
	roots *x509.CertPool
}

// keycloakStart is how long it may take: it builds itself at its first start.
const keycloakStart = 9 * time.Minute

// newKeycloak starts the one that build/peers.sh fetches.
func newKeycloak(t *testing.T, ca *identity.DevCA) *keycloak {
	t.Helper()
	program, err := filepath.Abs(filepath.Join("..", "..", ".peers", "keycloak", "bin", "kc.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("Keycloak is not here: make peers (it wants Java 17 and mvn)")
	}
	k := &keycloak{t: t, roots: x509.NewCertPool()}
	dir, plain, secure := t.TempDir(), port(t), port(t)
	k.plain, k.https = "http://127.0.0.1:"+plain, "https://127.0.0.1:"+secure
	k.roots.AppendCertsFromPEM(ca.AuthorityPEM())
	own := identitytest.Issue(t, ca, "/keycloak") // its certificate is also for 127.0.0.1
	writePEM(t, filepath.Join(dir, "tls.crt"), "CERTIFICATE", own.Certificate.Leaf.Raw)
	der, err := x509.MarshalPKCS8PrivateKey(own.Certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "tls.key"), "PRIVATE KEY", der)
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.AuthorityPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "start-dev", "--db=dev-mem", "--cache=local", "--http-host=127.0.0.1", "--http-port="+plain, //nolint:gosec,noctx // it ends below
		"--https-port="+secure, "--https-certificate-file="+filepath.Join(dir, "tls.crt"), "--https-certificate-key-file="+filepath.Join(dir, "tls.key"),
		"--https-client-auth=request", "--truststore-paths="+filepath.Join(dir, "ca.pem"), "--hostname-strict=false")
	c.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD=admin", "JAVA_OPTS_KC_HEAP=-Xms64m -Xmx512m")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("it said:\n%s", said.String())
		}
	})
	k.ready()
	return k
}

func port(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (k *keycloak) ready() {
	k.t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(keycloakStart); time.Now().Before(end); <-tick.C {
		if resp, err := http.Get(k.plain + "/realms/master"); err == nil { //nolint:noctx // of a test
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	k.t.Fatal("it did not start")
}

// password is a person's access token, of whom the server is at an address.
func (k *keycloak) password(base, realm, app, user, password, scope string) string {
	k.t.Helper()
	form := url.Values{"grant_type": {"password"}, "client_id": {app}, "username": {user}, "password": {password}}
	if scope != "" {
		form.Set("scope", scope)
	}
	resp, err := client(k.roots).PostForm(base+"/realms/"+realm+"/protocol/openid-connect/token", form) //nolint:noctx // of a test
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct {
		AccessToken string `json:"access_token"`
	}
	body, _ := io.ReadAll(resp.Body)
	if json.Unmarshal(body, &got) != nil || got.AccessToken == "" {
		k.t.Fatalf("sign in as %s: %s", user, body)
	}
	return got.AccessToken
}

func client(roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
}

// post makes an object by the admin API.
func (k *keycloak) post(path string, object any) {
	k.t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		k.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(k.t.Context(), http.MethodPost, k.plain+"/admin/realms"+path, bytes.NewReader(text))
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+k.password(k.plain, "master", "admin-cli", "admin", "admin", ""))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		body, _ := io.ReadAll(resp.Body)
		k.t.Fatalf("%s: %s %s", path, resp.Status, body)
	}
}

type object = map[string]any

// realm is one with bob, a client for people, us twice, and a backend.
func (k *keycloak) realm(jwks []byte) {
	k.t.Helper()
	forAudience := func(client string) []object {
		return []object{{
			"name": "for " + client, "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
			"config": object{"included.client.audience": client, "access.token.claim": "true"},
		}}
	}
	k.post("", object{"realm": "acme", "enabled": true, "sslRequired": "none", "accessTokenLifespan": 300})
	for _, name := range []string{"crm.read", "crm.write"} {
		k.post("/acme/client-scopes", object{"name": name, "protocol": "openid-connect", "attributes": object{"include.in.token.scope": "true"}, "protocolMappers": forAudience("crm")})
	}
	k.post("/acme/users", object{
		"username": "bob", "enabled": true, "email": "bob@acme.example", "emailVerified": true, "firstName": "Bob", "lastName": "B",
		"credentials": []object{{"type": "password", "value": "hush"}},
	})
	k.post("/acme/clients", object{"clientId": "crm", "bearerOnly": true})
	k.post("/acme/clients", object{
		"clientId": "front", "publicClient": true, "directAccessGrantsEnabled": true, "defaultClientScopes": []string{"basic"},
		"optionalClientScopes": []string{"crm.read", "crm.write"}, "protocolMappers": append(forAudience("behalf"), forAudience("behalf-mtls")...),
	})
	us := func(id, authenticator string, attributes object) object {
		attributes["standard.token.exchange.enabled"] = "true"
		return object{
			"clientId": id, "publicClient": false, "standardFlowEnabled": false, "clientAuthenticatorType": authenticator, "attributes": attributes,
			"defaultClientScopes": []string{"basic"}, "optionalClientScopes": []string{"crm.read", "crm.write"},
		}
	}
	k.post("/acme/clients", us("behalf", "client-jwt", object{"use.jwks.string": "true", "jwks.string": string(jwks), "token.endpoint.auth.signing.alg": "ES256"}))
	k.post("/acme/clients", us("behalf-mtls", "client-x509", object{
		"x509.subjectdn": ".*", "x509.allow.regex.pattern.comparison": "true", "tls.client.certificate.bound.access.tokens": "true",
	}))
}

// verifier is whoever trusts the realm, under a name. Tokens of each address of the
// server have another issuer.
func (k *keycloak) verifier(base, name string) *identity.Verifier {
	k.t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Holds: func() bool { return true }, Issuers: []identity.Issuer{{
		Issuer: base + "/realms/acme", Audiences: []string{name}, Algorithms: []string{"RS256"}, TokenTypes: []string{"JWT", "at+jwt"}, Tenant: "acme",
		JWKSURL: k.plain + "/realms/acme/protocol/openid-connect/certs",
	}}})
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

func TestKeycloakIssuesWhatABackendGets(t *testing.T) {
	ca := identitytest.NewCA(t)
	k := newKeycloak(t, ca)
	w := newWorld(t, nil)
	w.key = newKey(t, time.Now) // the world's clock stood still meanwhile
	jwks, err := w.key.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	k.realm(jwks)
	us, crm := k.verifier(k.plain, "behalf"), k.verifier(k.plain, "crm")
	raw := k.password(k.plain, "acme", "front", "bob", "hush", "crm.read crm.write")
	u, err := us.Verify(t.Context(), identity.NewSecret(raw), "")
	if err != nil {
		t.Fatalf("the person's own token: %v", err)
	}
	bob := w.grant(identity.Principal{User: &u})
	ask := func(edit func(*exchange.Config)) result {
		w.x = w.exchange(func(c *exchange.Config) {
			c.TokenURL, c.Client.Audience, c.TLS, c.Act, c.Now = k.plain+"/realms/acme/protocol/openid-connect/token", k.plain+"/realms/acme", nil, exchange.Warn, time.Now
			if edit != nil {
				edit(c)
			}
		})
		return w.call(bob, "ask")
	}

	got := ask(nil)

	if got.failed {
		t.Fatalf("got %+v because %s, want a token", got, w.why())
	}
	t.Logf("private_key_jwt: %v", w.issued(got.token))
	at, err := crm.Verify(t.Context(), identity.NewSecret(got.token), "")
	if err != nil || at.Subject != u.Subject || !slices.Equal(at.Scopes.Names(), []string{"crm.read"}) {
		t.Errorf("the backend reads %v %v, %v, want bob with what the tool needs", at.Subject, at.Scopes.Names(), err)
	}
	if _, err := crm.Verify(t.Context(), identity.NewSecret(raw), ""); err == nil {
		t.Log("bob's own token names the backend too: his client may ask for its scopes")
	}
	if _, err := us.Verify(t.Context(), identity.NewSecret(got.token), ""); err == nil {
		t.Error("what the backend got is good here too")
	}
	for name, row := range map[string]struct {
		edit func(*exchange.Config)
		why  string
	}{
		"no actor is named":          {func(c *exchange.Config) { c.Act = exchange.Refuse }, "name us"},
		"another key":                {func(c *exchange.Config) { c.Client.Key = newKey(t, time.Now) }, "invalid_client"},
		"another client":             {func(c *exchange.Config) { c.Client.ID = "somebody" }, "invalid_client"},
		"a backend that is not ours": {func(c *exchange.Config) { c.Audience = "account" }, "invalid_"},
		"another issuer":             {func(c *exchange.Config) { c.Issuer = k.https + "/realms/acme" }, "another issuer"},
		"a shorter cap":              {func(c *exchange.Config) { c.Cap = time.Minute }, "cap"},
		"not bound":                  {func(c *exchange.Config) { c.Bound = true }, "not bound"},
	} {
		if got := ask(row.edit); got.Reason != "TOOL_UNAVAILABLE" || !strings.Contains(w.why(), row.why) {
			t.Errorf("%s: got %+v because %q, want %q", name, got, w.why(), row.why)
		} else {
			t.Logf("%s: %s", name, w.why())
		}
	}
	t.Run("mtls", func(t *testing.T) { k.mtls(t, w, ca) })
}

// mtls is the other proof: our certificate. Keycloak 26.4 does not bind what it
// exchanges to it, though the client asks for that, and says so by leaving cnf out.
func (k *keycloak) mtls(t *testing.T, w *world, ca *identity.DevCA) {
	own, err := identitytest.NewSource(t, ca, "/behalf").SVID()
	if err != nil {
		t.Fatal(err)
	}
	raw := k.password(k.https, "acme", "front", "bob", "hush", "crm.read")
	u, err := k.verifier(k.https, "behalf-mtls").Verify(t.Context(), identity.NewSecret(raw), "")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(edit func(*exchange.Config)) result {
		w.x = w.exchange(func(c *exchange.Config) {
			c.TokenURL, c.Client, c.Act, c.Now = k.https+"/realms/acme/protocol/openid-connect/token", exchange.Client{ID: "behalf-mtls"}, exchange.Warn, time.Now
			c.TLS = &tls.Config{RootCAs: k.roots, Certificates: []tls.Certificate{own.Certificate}, MinVersion: tls.VersionTLS12}
			edit(c)
		})
		return w.call(w.grant(identity.Principal{User: &u}), "ask")
	}
	w.sent = tools.Sent{Thumbprint: own.Thumbprint}

	got := ask(func(*exchange.Config) {})

	if got.failed {
		t.Fatalf("got %+v because %s, want a token", got, w.why())
	}
	t.Logf("mtls: %v", w.issued(got.token))
	at, err := k.verifier(k.https, "crm").Verify(t.Context(), identity.NewSecret(got.token), own.Thumbprint)
	if err != nil || at.Subject != u.Subject {
		t.Errorf("the backend reads %q, %v, want bob", at.Subject, err)
	}
	if without := ask(func(c *exchange.Config) { c.TLS.Certificates = nil }); without.Reason != "TOOL_UNAVAILABLE" || !strings.Contains(w.why(), "invalid_client") {
		t.Errorf("without our certificate: got %+v because %q, want invalid_client", without, w.why())
	}
	if _, bound := w.issued(got.token)["cnf"]; !bound {
		if free := ask(func(c *exchange.Config) { c.Bound = true }); !strings.Contains(w.why(), "not bound") {
			t.Errorf("got %+v because %q, want a refusal of what is not bound", free, w.why())
		}
	}
}
