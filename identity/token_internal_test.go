package identity

import (
	"strings"
	"testing"
)

func TestClaimsAreOneObjectOfReadableText(t *testing.T) {
	for _, text := range []string{"[]", "null", "1", `"x"`, `{"sub":"M\ufffdller"}`, `{"sub":"M\uFFFDller"}`, "{\"M\ufffd\":1}", "{\"a\":\"\xff\"}"} {
		if got, err := strictObject([]byte(text)); err == nil {
			t.Errorf("%s: got %v, want an error", text, got)
		}
	}
	if _, err := strictObject([]byte(strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17))); err == nil {
		t.Error("17 deep: got no error")
	}
}

func FuzzTokenParsing(f *testing.F) {
	header := "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0" // {"alg":"ES256","kid":"k1"}
	f.Add(header + ".e30.AA")
	f.Add("..")
	f.Add(header + ".e30.AB")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parseToken(raw)
		if err != nil {
			return
		}
		if strings.Count(raw, ".") != 2 || len(raw) > maxToken || strings.ContainsAny(raw, "=+/ \r\n") {
			t.Error("accepted what is not a compact JWS")
		}
		if !validKeyID(got.kid) || got.alg == "" || got.claims == nil {
			t.Errorf("accepted an incomplete token: %+v", got)
		}
	})
}
