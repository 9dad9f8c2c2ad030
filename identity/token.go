package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const (
	maxToken = 8 << 10
	maxKeyID = 256
)

// token is a compact JWS that was taken apart but not verified.
type token struct {
	raw    string
	body   []byte // what claims were read from
	alg    string
	typ    string
	kid    string
	claims claims
}

// parseToken takes a compact JWS apart. Everything that a verifier further down
// could read in two ways is refused here.
func parseToken(raw string) (*token, error) {
	if len(raw) > maxToken {
		return nil, errors.New("the token is longer than 8 KiB")
	}
	parts := strings.SplitN(raw, ".", 4)
	if len(parts) != 3 {
		return nil, errors.New("the token is not a compact JWS of three parts")
	}
	if _, err := decodePart(parts[2]); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	t := &token{raw: raw}
	header, err := decodeObject(parts[0])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := t.readHeader(header); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if t.body, err = decodePart(parts[1]); err == nil {
		t.claims, err = strictObject(t.body)
	}
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	return t, nil
}

func decodeObject(part string) (map[string]any, error) {
	data, err := decodePart(part)
	if err != nil {
		return nil, err
	}
	return strictObject(data)
}

// decodePart decodes base64url without padding and with zero trailing bits. The
// library alone would skip line breaks.
func decodePart(part string) ([]byte, error) {
	if part == "" || strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("not base64url")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, errors.New("not base64url")
	}
	return data, nil
}

func (t *token) readHeader(h map[string]any) error {
	if err := refuseHeaders(h); err != nil {
		return err
	}
	var ok bool
	if t.alg, ok = h["alg"].(string); !ok {
		return errors.New("there is no alg")
	}
	if t.kid, ok = h["kid"].(string); !ok || !validKeyID(t.kid) {
		return errors.New("there is no usable kid")
	}
	typ, present := h["typ"]
	if t.typ, ok = typ.(string); present && !ok {
		return errors.New("typ is not a string")
	}
	return nil
}

// refuseHeaders stops tokens that bring their own key, or that ask for a
// processing which we do not do.
func refuseHeaders(h map[string]any) error {
	for _, name := range []string{"jku", "x5u", "jwk", "x5c", "crit", "zip", "enc", "b64"} {
		if _, ok := h[name]; ok {
			return fmt.Errorf("the parameter %s is not accepted", name)
		}
	}
	return nil
}

func validKeyID(kid string) bool {
	if kid == "" || len(kid) > maxKeyID {
		return false
	}
	for i := range len(kid) {
		if kid[i] < 0x20 || kid[i] > 0x7e {
			return false
		}
	}
	return true
}

// claims are a token's claims under their exact names.
type claims map[string]any

// at finds a claim by its exact name, else by a path with dots.
func (c claims) at(path string) (any, bool) {
	if v, ok := c[path]; ok {
		return v, true
	}
	object := map[string]any(c)
	names := strings.Split(path, ".")
	for _, n := range names[:len(names)-1] {
		inner, ok := object[n].(map[string]any)
		if !ok {
			return nil, false
		}
		object = inner
	}
	v, ok := object[names[len(names)-1]]
	return v, ok
}

// text gives a string claim; a claim of another type is an error, not absent.
func (c claims) text(name string) (string, error) {
	v, ok := c[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is not a string", name)
	}
	return s, nil
}

// list reads a string or an array of strings.
func list(v any) ([]string, bool) {
	switch t := v.(type) {
	case string:
		return []string{t}, true
	case []any:
		out := make([]string, 0, len(t))
		for _, e := range t {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

const lastSecond = 253402300799 // the end of the year 9999

// seconds reads a NumericDate, with its fraction.
func (c claims) seconds(name string) (float64, bool, error) {
	v, ok := c[name]
	if !ok {
		return 0, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return 0, false, fmt.Errorf("%s is not a number", name)
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > lastSecond {
		return 0, false, fmt.Errorf("%s is not a date", name)
	}
	return f, true, nil
}
