package grpctool

import (
	"context"
	"encoding/json"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TicketOn asks for the metadata of a call on a connection, after the descriptors were
// read on another or the same.
func TicketOn(ctx context.Context, tokens tools.Issuing, read, conn uint64) (md map[string]string, moved bool, err error) {
	t := &ticket{tokens: tokens, backend: tools.Backend{Audience: "a", Type: "agent-call+jwt"}, digest: "d", number: read}
	md, err = t.GetRequestMetadata(credentials.NewContextWithRequestInfo(ctx, credentials.RequestInfo{AuthInfo: connInfo{number: conn}}))
	return md, t.moved, err
}

// TicketOff asks for it on a connection that is not ours.
func TicketOff(ctx context.Context, tokens tools.Issuing) (map[string]string, error) {
	return (&ticket{tokens: tokens}).GetRequestMetadata(ctx)
}

// Pauses are those after connections that lasted so long each, one after another.
func Pauses(most time.Duration, lasted ...time.Duration) (out []time.Duration) {
	p, now := pace{most: most}, time.Now()
	for _, d := range lasted {
		wait := p.lost(now.Add(d))
		out, now = append(out, wait), now.Add(d+wait)
	}
	return out
}

// Unheard reports whether a message has a field that a descriptor does not know.
func Unheard(m protoreflect.Message, known protoreflect.MessageDescriptor) bool {
	return unheard(m, known)
}

// Decode is an answer of a tool as it is shown.
func (s *Source) Decode(tool string, raw []byte) (json.RawMessage, error) {
	out, _, err := s.named(tool).decode(s.c, raw)
	return out, err
}

// News reports whether an answer of a tool has what the descriptors do not.
func (s *Source) News(tool string, raw []byte) bool {
	_, newer, _ := s.named(tool).decode(s.c, raw)
	return newer
}

func (s *Source) named(tool string) *method {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.known.methods {
		if m.Name == tool {
			return m
		}
	}
	return nil
}

// OfferWithoutConfig reads descriptors in a way that panics.
func OfferWithoutConfig() error {
	_, err := offer(nil, newFiles())
	return err
}

// Encode is the message of a tool's arguments.
func (s *Source) Encode(tool, args string) ([]byte, error) {
	return s.named(tool).payload(json.RawMessage(args))
}
