package identity

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestABundleIsFetchedAgainWhenItsHintSays lets time pass, in which an endpoint
// gives hints that are too short, good, none and too long, and fails in between.
func TestABundleIsFetchedAgainWhenItsHintSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []string{
			`{"keys":[],"spiffe_refresh_hint":1}`, `{"keys":[],"spiffe_refresh_hint":-5}`, `{"keys":[],"spiffe_refresh_hint":600}`,
			"", "", `{"keys":[]}`, `{"keys":[],"spiffe_refresh_hint":9999999}`, `{"keys":[],"spiffe_refresh_hint":9223372036854775807}`,
		}
		ctx, stop := context.WithCancel(t.Context())
		var fetched []time.Duration
		begun, last := time.Now(), time.Time{}
		d := &federated{
			FederatedDomain: FederatedDomain{TrustDomain: "partner.example", MaxStale: 72 * time.Hour}, now: time.Now, log: orDiscard(nil),
			load: func(context.Context) (document, error) {
				if last.IsZero() {
					last = begun
				}
				fetched, last = append(fetched, time.Since(last)), time.Now()
				if len(fetched) > len(answers) {
					stop()
					return document{}, errors.New("over")
				}
				body := answers[len(fetched)-1]
				if body == "" {
					return document{}, errors.New("away")
				}
				return document{body: []byte(body)}, nil
			},
		}

		if err := d.run(ctx); err != nil {
			t.Error(err)
		}

		want := []time.Duration{0, minTTL, minTTL, 10 * time.Minute, time.Second, 2 * time.Second, federationTTL, maxTTL}
		if diff := cmp.Diff(want, fetched[:len(want)]); diff != "" {
			t.Errorf("waited (-want +got):\n%s", diff)
		}
		if end := fetched[len(want)]; end < minTTL || end > maxTTL {
			t.Errorf("got %v after a hint beyond all numbers", end)
		}
	})
}

// TestABundleIsFetchedTwiceBeforeItIsStale although its hint says that it need not.
func TestABundleIsFetchedTwiceBeforeItIsStale(t *testing.T) {
	d := &federated{FederatedDomain: FederatedDomain{MaxStale: time.Hour}, now: time.Now, log: orDiscard(nil)}

	d.accept(nil, maxTTL)

	if got := d.due(); got > 30*time.Minute || got < 29*time.Minute {
		t.Errorf("got %v, want half an hour", got)
	}
}
