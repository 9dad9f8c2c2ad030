package grpctool_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// describe registers the reflection that the backend offers.
func (b *backend) describe(linked *protoregistry.Files) {
	o := reflection.ServerOptions{Services: b.server, DescriptorResolver: linked}
	if slices.Contains(b.offers, "v1alpha") {
		reflectionv1alpha.RegisterServerReflectionServer(b.server, reflection.NewServer(o))
	}
	if b.offers != nil && !slices.Contains(b.offers, "v1") {
		return
	}
	s := b.reflect
	if s == nil {
		s = reflection.NewServerV1(o)
	}
	reflectionv1.RegisterServerReflectionServer(b.server, s)
}

// TestABackendThatOffersTheOlderReflectionAloneHasTools: Python's grpcio-reflection has
// no other.
func TestABackendThatOffersTheOlderReflectionAloneHasTools(t *testing.T) {
	w := newWorld(t)
	w.backend.offers = []string{"v1alpha"}
	w.backend.start(t)
	w.open(readOnly)
	w.reading("")

	if fin := w.call("echo", `{"text":"a"}`); fin.Failed || !strings.Contains(fin.Result, `"text":"a"`) {
		t.Errorf("got %s, want the tool to work", fin.Result)
	}
}

// refusing refuses reflection by a code, and counts who asked.
type refusing struct {
	reflectionv1.UnimplementedServerReflectionServer

	code  codes.Code
	asked atomic.Int64
}

func (r *refusing) ServerReflectionInfo(reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	r.asked.Add(1)
	return status.Error(r.code, "no")
}

func TestTheOlderReflectionIsAskedOnlyWhereTheNewerIsNotThere(t *testing.T) {
	for code, want := range map[codes.Code]bool{codes.Unimplemented: true, codes.PermissionDenied: false, codes.Unavailable: false} {
		t.Run(code.String(), func(t *testing.T) {
			w, newer := newWorld(t), &refusing{code: code}
			w.backend.reflect, w.backend.offers = newer, []string{"v1", "v1alpha"}
			w.backend.start(t)
			w.open(func(g *grpctool.Config) { g.Refresh = time.Millisecond })
			w.until(func() bool { return newer.asked.Load() > 1 || w.source.Problem() == nil })

			if _, err := w.source.Tools(); (err == nil) != want {
				t.Errorf("got %v, want tools %v", err, want)
			}
		})
	}
}

func TestABackendWithoutReflectionIsToldBothThatItMayOffer(t *testing.T) {
	w, log := newWorld(t), &lines{}
	w.backend.offers = []string{}
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { g.Logger = log.logger() })
	w.until(func() bool { return log.has("cannot be read") })

	for _, part := range []string{"Unimplemented", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "descriptor_set"} {
		if err := w.source.Problem(); err == nil || !strings.Contains(err.Error(), part) || !log.has(part) {
			t.Errorf("got %v and the log %q, want %q in both", err, log.all, part)
		}
	}
}
