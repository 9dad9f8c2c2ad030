package identity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

func auth(values ...string) map[string][]string { return map[string][]string{"authorization": values} }

func TestCredentialIsOneBearerToken(t *testing.T) {
	for name, row := range map[string]struct {
		md    map[string][]string
		token string // empty and no reason: no credential
		want  fault.Reason
	}{
		"absent":              {nil, "", ""},
		"other keys":          {map[string][]string{"user-agent": {"x"}, ":authority": {"y"}}, "", ""},
		"bearer":              {auth("Bearer abc"), "abc", ""},
		"scheme in any case":  {auth("bEARER abc"), "abc", ""},
		"two values":          {auth("Bearer abc", "Bearer abc"), "", fault.CredentialInvalid},
		"key without a value": {auth(), "", fault.CredentialInvalid},
		"comma-joined":        {auth("Bearer abc,Bearer def"), "", fault.CredentialInvalid},
		"comma and space":     {auth("Bearer abc, def"), "", fault.CredentialInvalid},
		"two spaces":          {auth("Bearer  abc"), "", fault.CredentialInvalid},
		"trailing space":      {auth("Bearer abc "), "", fault.CredentialInvalid},
		"leading space":       {auth(" Bearer abc"), "", fault.CredentialInvalid},
		"tab":                 {auth("Bearer\tabc"), "", fault.CredentialInvalid},
		"scheme only":         {auth("Bearer"), "", fault.CredentialInvalid},
		"empty token":         {auth("Bearer "), "", fault.CredentialInvalid},
		"empty value":         {auth(""), "", fault.CredentialInvalid},
		"basic":               {auth("Basic abc"), "", fault.CredentialInvalid},
		"DPoP":                {auth("DPoP abc"), "", fault.CredentialInvalid},
		"second location":     {map[string][]string{"authorization": {"Bearer abc"}, "x-access-token": {"abc"}}, "", fault.CredentialInvalid},
		"another location":    {map[string][]string{"proxy-authorization": {"Bearer abc"}}, "", fault.CredentialInvalid},
		"binary form":         {map[string][]string{"authorization-bin": {"abc"}}, "", fault.ArgumentInvalid},
		"binary trace":        {map[string][]string{"traceparent-bin": {"abc"}}, "", fault.ArgumentInvalid},
		"upper-case key":      {map[string][]string{"Authorization": {"Bearer abc"}}, "", fault.ArgumentInvalid},
		"value over 8 KiB":    {map[string][]string{"a": {strings.Repeat("x", 8<<10+1)}}, "", fault.ArgumentInvalid},
		"total over 16 KiB":   {map[string][]string{"a": {strings.Repeat("x", 8<<10)}, "b": {strings.Repeat("x", 8<<10)}}, "", fault.ArgumentInvalid},
		"65 entries":          {manyEntries(65), "", fault.ArgumentInvalid},
		"64 entries":          {manyEntries(64), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			token, ok, err := identity.Credential(row.md)

			if row.want != "" {
				if f := fault.From(err); f.Reason != row.want || f.Code == codes.Internal {
					t.Errorf("got %v, want %s", err, row.want)
				}
				return
			}
			if err != nil || token.Reveal() != row.token || ok != (row.token != "") {
				t.Errorf("got %q, %v, %v, want %q", token.Reveal(), ok, err, row.token)
			}
		})
	}
}

func manyEntries(n int) map[string][]string {
	md := map[string][]string{}
	for i := range n {
		md["k"] = append(md["k"], fmt.Sprint(i))
	}
	return md
}

func TestStripLeavesNothingThatCouldBeTakenForAnIdentity(t *testing.T) {
	md := map[string][]string{}
	for _, key := range []string{
		"authorization", "Authorization", "cookie", "set-cookie", "dpop", "x-user-id", "x-forwarded-for", "x-forwarded-client-cert", "forwarded",
		"x-real-ip", "x-client-cert", "x-spiffe-id", "x-goog-iap-jwt-assertion", "x-ms-client-principal", "x-ms-client-principal-id",
		"x-amzn-oidc-data", "x-agent-name", "agent-chain", "txn-token", "baggage", "behalf-user", "x-behalf-tenant", "authorization-bin",
		"x-user-id-bin", "proxy-authorization", "x-access-token", "x-auth-token",
	} {
		md[key] = []string{"forged"}
	}
	keep := map[string][]string{
		"traceparent": {"00-1"}, "tracestate": {"a=b"}, "user-agent": {"x"}, ":authority": {"y"}, "content-type": {"application/grpc"}, "x-users": {"ok"},
	}
	for k, v := range keep {
		md[k] = v
	}

	got := identity.Strip(md)

	if diff := cmp.Diff(got, keep); diff != "" {
		t.Errorf("got, want: %s", diff)
	}
	got["traceparent"][0] = "changed"
	if md["traceparent"][0] != "00-1" {
		t.Error("Strip shares values with its input")
	}
}

func FuzzMetadataNeverYieldsMoreThanWasSent(f *testing.F) {
	f.Add("authorization", "Bearer abc", "x")
	f.Add("authorization-bin", "Bearer a b", "")
	f.Add("cookie", ",", "Bearer")
	f.Fuzz(func(t *testing.T, key, first, second string) {
		md := map[string][]string{key: {first}, "authorization": {second}}

		token, ok, err := identity.Credential(md)
		stripped := identity.Strip(md)

		if ok != (err == nil && !token.IsZero()) {
			t.Errorf("got %v with %v", ok, err)
		}
		if ok && !strings.HasSuffix(md["authorization"][0], " "+token.Reveal()) {
			t.Error("the token is not what was sent")
		}
		if _, there := stripped["authorization"]; there || len(stripped) > 1 {
			t.Errorf("got %v after Strip", stripped)
		}
	})
}
