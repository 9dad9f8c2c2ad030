package runs

import (
	"encoding/base32"
	"fmt"
	"io"
)

// Prefixes of the ids that the server makes.
const (
	SessionPrefix  = "ses_"
	RunPrefix      = "run_"
	ApprovalPrefix = "apr_"
	GrantPrefix    = "grt_"
)

var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID gives an id: the prefix and 26 characters of 128 bits read from random
// (crypto/rand.Reader outside of tests).
func NewID(prefix string, random io.Reader) (string, error) {
	var raw [16]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("read 128 random bits: %w", err)
	}
	return prefix + idText.EncodeToString(raw[:]), nil
}
