package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

func TestAThumbprintIsThirtyTwoBytesSpelledInOneWay(t *testing.T) {
	sum := sha256.Sum256([]byte("a certificate"))
	leaf := base64.RawURLEncoding.EncodeToString(sum[:])
	other := sha256.Sum256([]byte("another"))
	last := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	bits := leaf[:42] + string(last[strings.IndexByte(last, leaf[42])|1]) // the same bytes, with bits behind them that mean nothing
	for name, want := range map[string]string{
		"of another": base64.RawURLEncoding.EncodeToString(other[:]), "padded": leaf + "=", "of the other alphabet": base64.RawStdEncoding.EncodeToString(append(sum[:31:31], 0xff)),
		"cut": leaf[:42], "longer": leaf + "AAAA", "empty": "", "a line feed in it": leaf[:20] + "\n" + leaf[20:], "trailing bits": bits,
		"no base64": strings.Repeat("!", 43), "of SHA-1": base64.RawURLEncoding.EncodeToString(sum[:20]), "thirty-three bytes": base64.RawURLEncoding.EncodeToString(append(sum[:], 0)),
	} {
		if err := confirmed(map[string]any{"x5t#S256": want}, leaf); err == nil {
			t.Errorf("%s: a token bound to %q was taken on %q", name, want, leaf)
		}
		if err := confirmed(map[string]any{"x5t#S256": want}, want); err == nil && thumb(want) == nil {
			t.Errorf("%s: equal texts that are no thumbprints were taken", name)
		}
	}
	if err := confirmed(map[string]any{"x5t#S256": leaf}, leaf); err != nil {
		t.Errorf("got %v for the leaf's own thumbprint", err)
	}
	if err := confirmed(map[string]any{"x5t#S256": leaf}, ""); err == nil {
		t.Error("a bound token was taken without a certificate")
	}
}
