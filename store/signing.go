package store

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/audit"
)

// signing asks the key for signatures. A key that is not in memory may be far away,
// and the writer, on whom every call depends, waits for it only so long. Its
// methods belong to the writer's goroutine.
type signing struct {
	key    crypto.Signer
	public ed25519.PublicKey
	near   bool        // in memory: it answers at once
	asked  chan signed // what the key hangs at; nil: nothing
}

// signed is the answer of a key.
type signed struct {
	checkpoint audit.Checkpoint
	line       []byte
	err        error
}

func newSigning(key crypto.Signer) (*signing, error) {
	if key == nil {
		return nil, nil
	}
	public, err := audit.PublicOf(key)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	_, near := key.(ed25519.PrivateKey)
	return &signing{key: key, public: public, near: near}, nil
}

// signingPatience is how long the writer waits for a key that is elsewhere.
const signingPatience = 2 * time.Second

var errSigningHangs = errors.New("the signing key does not answer")

// sign signs c. While a key hangs at an earlier question it is not asked another.
func (s *signing) sign(c *audit.Checkpoint) ([]byte, error) {
	if s.near {
		return c.Sign(s.key)
	}
	if s.asked != nil {
		select {
		case <-s.asked: // too late: what was to be signed then has changed
			s.asked = nil
		default:
			return nil, errSigningHangs
		}
	}
	asked := make(chan signed, 1)
	go func(own audit.Checkpoint) { // ends when the key answers; one at a time
		line, err := own.Sign(s.key)
		asked <- signed{own, line, err}
	}(*c)
	over := time.NewTimer(signingPatience)
	defer over.Stop()
	select {
	case answer := <-asked:
		*c = answer.checkpoint
		return answer.line, answer.err
	case <-over.C:
		s.asked = asked
		return nil, errSigningHangs
	}
}
