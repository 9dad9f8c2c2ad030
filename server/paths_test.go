package server_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"
)

// CVE-2026-33186: a path without its leading slash slipped past interceptors
// that match methods by their path. TestHostileRequestsReachNoHandler sends the
// same with a credential.
func TestOddPathsTellNobodyAnything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	for _, a := range oddPaths(nil) {
		t.Run(a.name, func(t *testing.T) {
			k := w.wire(t, nil)
			k.t = t
			a.do(k)

			want := a.want
			if want == unknown {
				want = "UNAUTHENTICATED CREDENTIAL_REQUIRED"
			}
			if got := k.outcome(1); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestUnknownMethodsAreUnknownOnlyToThoseWhoAreIdentified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	a, nobody := w.as(alice), &client{w.dial(nil), nil}

	for _, name := range []string{"/no.such.Service/Method", "/behalf.v1.AdminService/NoSuchMethod"} {
		wantError(t, a.Invoke(a.ctx(t), name, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unimplemented, "UNIMPLEMENTED")
		wantError(t, nobody.Invoke(nobody.ctx(t), name, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	}
}
