package store_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// vault is a key that is elsewhere. do is what it does instead of signing, nil: it
// signs.
type vault struct {
	do func(message []byte) ([]byte, error)
}

func (vault) Public() crypto.PublicKey { return storetest.Key().Public() }

func (v *vault) Sign(r io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if v.do != nil {
		return v.do(message)
	}
	return storetest.Key().Sign(r, message, opts)
}

func TestARemoteKeySignsCheckpoints(t *testing.T) {
	s := storetest.Start(t, store.Config{DSN: tempDSN(t), Key: &vault{}, CheckpointEvery: 2})

	for _, call := range []string{"run/1", "run/2", "run/3"} {
		if err := s.Append(audit.Entry{Record: storetest.Sample("acme", call)}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	if r := storetest.Verify(t, s.Reader); r.Checkpoints == 0 || r.Tenants[0].Signed < 2 {
		t.Errorf("got %+v, want signed rows", r)
	}
}

func TestAKeyThatCannotSignStopsTheRecording(t *testing.T) {
	errKMS := errors.New("the KMS is down")
	for name, do := range map[string]func([]byte) ([]byte, error){
		"fails":          func([]byte) ([]byte, error) { return nil, errKMS },
		"signs wrongly":  func([]byte) ([]byte, error) { return make([]byte, ed25519.SignatureSize), nil },
		"signs shortly":  func([]byte) ([]byte, error) { return []byte{1}, nil },
		"signs with nil": func([]byte) ([]byte, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			key := &vault{do: do}
			s := storetest.Start(t, store.Config{DSN: tempDSN(t), Key: key, CheckpointEvery: 3})
			appendAll := func() (err error) {
				for range 5 {
					err = errors.Join(err, s.Append(audit.Entry{Record: storetest.Sample("acme", "run/x")}).Wait(t.Context()))
				}
				return err
			}

			err := appendAll()
			if err == nil {
				t.Error("more rows were recorded than may be unsigned")
			}
			if r := storetest.Verify(t, s.Reader); r.Tenants[0].Rows >= 3 || r.Checkpoints != 0 {
				t.Errorf("got %+v, want fewer rows than a checkpoint takes", r)
			}
			if err := s.Do(t.Context(), func(tx *store.Tx) error { key.do = nil; return nil }); err != nil {
				t.Fatal(err) // what records nothing needs no signature; on the writer's goroutine, as Sign
			}
			if err := appendAll(); err != nil {
				t.Errorf("got %v once the key is back", err)
			}
			storetest.Verify(t, s.Reader)
		})
	}
}

func TestAKeyThatHangsHoldsTheWriterForTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		key := &vault{do: func(m []byte) ([]byte, error) { <-answer; return ed25519.Sign(storetest.Key(), m), nil }}
		s := storetest.Start(t, store.Config{DSN: tempDSN(t), Key: key, CheckpointEvery: 1, CheckpointInterval: time.Hour})
		began := time.Now()

		for want := range 2 { // the second is not even asked
			if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/x")}).Wait(t.Context()); err == nil {
				t.Error("a row was recorded that could not be signed")
			}
			if took := time.Since(began); took < 2*time.Second || took > 2*time.Second+100*time.Millisecond {
				t.Errorf("attempt %d: got %v, want 2 s for the first and none for the next", want, took)
			}
		}
		close(answer)
		synctest.Wait()
		if err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run/x")}).Wait(t.Context()); err != nil {
			t.Errorf("got %v once the key answers", err)
		}
		if r := storetest.Verify(t, s.Reader); r.Tenants[0].Rows != 1 || r.Tenants[0].Signed != 1 {
			t.Errorf("got %+v, want one row, signed", r)
		}
		s.Stop()
	})
}

func TestOpenRefusesAKeyThatIsNotEd25519(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{other, ed25519.PrivateKey(nil), ed25519.PrivateKey{1}} {
		if s, err := store.Open(t.Context(), store.Config{DSN: tempDSN(t), Key: key}); err == nil {
			t.Errorf("%T was taken", key)
			_ = s.Close()
		}
	}
}
