package interceptors

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/protobuf/types/known/emptypb"
)

// times counts how often somebody was identified, and lets nobody in after the first.
type times int

var errOver = errors.New("the credential has ended")

func (n *times) Identify(context.Context, *tls.ConnectionState, map[string][]string) (identity.Principal, error) {
	if *n++; *n > 1 {
		return identity.Principal{}, errOver
	}
	return identity.Principal{}, nil
}

func TestACallerIsIdentifiedAgainWhenTheirRequestTookLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := new(times)
		ctx := (&meeting{}).with(t.Context(), who)

		if _, err := met(ctx, who, nil); err != nil || *who != 1 {
			t.Errorf("at once: got %v after %d times, want what is known", err, *who)
		}
		<-time.After(time.Second)
		if _, err := met(ctx, who, nil); !errors.Is(err, errOver) {
			t.Errorf("later: got %v, want them asked anew", err)
		}
	})
}

func TestNothingIsReadOfACallerWhomNobodyKnows(t *testing.T) {
	read := func(any) error { t.Error("it was read"); return nil }

	if err := (taking{}).take(t.Context(), &meeting{err: errOver}, &emptypb.Empty{}, read); err != nil {
		t.Errorf("got %v, want the chain to say why", err)
	}
}

func TestWhatCannotBeTakenIsMarkedOnlyWhileSomebodyWaits(t *testing.T) {
	broken := func(any) error { return errOver }
	gone, leave := context.WithCancel(t.Context())
	leave()
	m := &emptypb.Empty{}

	if err := (taking{patience: time.Minute}).take(t.Context(), &meeting{}, m, broken); err != nil || marked(m) != garbled {
		t.Errorf("got %v and mark %d, want it marked", err, marked(m))
	}
	if err := (taking{patience: time.Minute}).take(gone, &meeting{}, &emptypb.Empty{}, broken); !errors.Is(err, errOver) {
		t.Errorf("got %v, want the call to end", err)
	}
}
