package calltoken

import "testing"

// A disk may take as long as it likes, and no call can be given up meanwhile.
func TestCallsAreSignedWhileKeysAreWritten(t *testing.T) {
	k, err := NewKeys(KeysConfig{})
	if err != nil {
		t.Fatal(err)
	}
	k.turn.Lock() // as whoever writes them
	defer k.turn.Unlock()

	if _, err := k.current().sign(TypeCall, []byte("{}")); err != nil {
		t.Error(err)
	}
	if _, err := k.JWKS(); err != nil || len(k.List()) != 1 {
		t.Errorf("got %v and %d keys, want the one", err, len(k.List()))
	}
}
