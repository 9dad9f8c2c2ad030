package grpctool

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// What the model reads of a call that was not made, or of whose end nothing is known.
var (
	errDown     = fault.New(codes.Unavailable, fault.ToolUnavailable, "the tool's backend cannot be reached; nothing was done")
	errChanged  = fault.New(codes.Unavailable, fault.ToolUnavailable, "the tool has changed at its backend and is being read again; nothing was done")
	errNoToken  = fault.New(codes.Unavailable, fault.ToolUnavailable, "the call could not be signed; nothing was done")
	errSlow     = fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded, "the tool did not answer in time") // as the gate says it: the backend may notice first
	errLost     = fault.New(codes.Unavailable, fault.ToolUnavailable, "the tool's backend was lost while it was asked")
	errOutcome  = fault.New(codes.Aborted, fault.OutcomeUnknown, "the tool's backend was lost or failed after it was asked; the call may have happened")
	errUnread   = fault.New(codes.Aborted, fault.OutcomeUnknown, "the call was made, and its answer cannot be shown; do not repeat it")
	errBadAny   = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, `the arguments are not what the tool takes: an "@type" may name no message of the backend, or one that says whose data it is about, or what is beside it may not fit; or a number may be out of range, or a time, duration or field mask misspelt`)
	errBadInput = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the arguments are not what the tool takes: a number may be out of range, or a time, duration or field mask misspelt")
)

// tool is a method as the gate calls it.
func (s *Source) tool(m *method) tools.Tool {
	t := tools.Tool{Descriptor: m.Descriptor, Inline: !m.streams, Timeout: s.c.Timeout, Revision: m.fingerprint, Offered: m.offered, Call: func(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
		return s.call(ctx, m, args)
	}}
	if _, ours := s.c.Tokens.(*tools.Tokens); ours && !m.hides { // a backend that knows another issuer gets none of ours; what is taken out here comes by nobody else
		t.Sends = &tools.Sends{Backend: s.c.Backend, Payload: m.payload}
	}
	return t
}

func (s *Source) call(ctx context.Context, m *method, args json.RawMessage) (json.RawMessage, error) {
	sent, err := m.payload(args)
	if err != nil {
		return nil, err
	}
	ctx = outgoing(ctx)
	for try := 0; ; try++ {
		l, err := s.await(ctx)
		if err != nil {
			return nil, err
		}
		if now := l.catalogue.methods[m.path]; now == nil || now.fingerprint != m.fingerprint {
			return nil, errChanged
		}
		t := &ticket{tokens: s.c.Tokens, backend: s.c.Backend, digest: calltoken.Digest(sent), number: l.number}
		out, err := s.send(ctx, l, m, sent, t)
		if t.moved && try == 0 {
			s.lose(l)
			continue // nothing was sent
		}
		if status.Code(err) == codes.Unauthenticated && t.made && t.err == nil { // it is us whom the backend does not know
			return nil, tools.Carried{Target: s.c.Target, Tokens: s.c.Tokens, Backend: s.c.Backend, Bound: t.bound}.Refused(m.said(err))
		}
		return out, m.ended(err, t)
	}
}

// payload is the message of a call, in the bytes that are sent.
func (m *method) payload(args json.RawMessage) ([]byte, error) {
	sent, err := m.encode(args)
	switch { // the library's text has values in it
	case err != nil && m.takes != none:
		return nil, errBadAny
	case err != nil || len(sent) > maxSent:
		return nil, errBadInput
	}
	return sent, nil
}

// maxSent bounds a request; arguments of 64 KiB are never more. The most is made of
// the digits in a ListValue, which are eleven bytes each, for two with the comma.
const maxSent = 512 << 10

var traceID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// outgoing is ctx with all the metadata that goes out, but for the token: nothing of
// what came in, only the trace that the call is part of.
func outgoing(ctx context.Context) context.Context {
	md := metadata.MD{}
	if f, ok := tools.FactsFrom(ctx); ok && traceID.MatchString(f.Trace) {
		var span [8]byte
		_, _ = rand.Read(span[:]) // never fails (Go 1.24)
		md.Set("traceparent", "00-"+f.Trace+"-"+hex.EncodeToString(span[:])+"-01")
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// send makes the call once.
func (s *Source) send(ctx context.Context, l *link, m *method, sent []byte, t *ticket) (json.RawMessage, error) {
	opts := []grpc.CallOption{
		grpc.PerRPCCredentials(t), grpc.ForceCodecV2(wire{}), grpc.WaitForReady(false),
		grpc.MaxCallRecvMsgSize(s.c.MaxResult), grpc.MaxCallSendMsgSize(maxSent),
	}
	if m.streams {
		return s.stream(ctx, l, m, sent, opts)
	}
	var got []byte
	if err := l.conn.Invoke(ctx, m.path, &sent, &got, opts...); err != nil {
		return nil, err
	}
	return s.read(m, got)
}

// stream collects the messages of an answer. More than allowed are an error: a list
// that ends in the middle looks like all of it.
func (s *Source) stream(ctx context.Context, l *link, m *method, sent []byte, opts []grpc.CallOption) (json.RawMessage, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which ends the stream
	st, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.path, opts...)
	if err != nil {
		return nil, err
	}
	if err := st.SendMsg(&sent); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := st.CloseSend(); err != nil {
		return nil, err
	}
	tell, asked := tools.ProgressFrom(ctx)
	out := bytes.NewBufferString("[")
	for n := 0; ; n++ {
		var got []byte
		err := st.RecvMsg(&got)
		switch {
		case errors.Is(err, io.EOF):
			out.WriteByte(']')
			return out.Bytes(), nil
		case err != nil:
			return nil, err
		case ctx.Err() != nil: // what has come by then is still received
			return nil, status.FromContextError(ctx.Err()).Err()
		case n == s.c.MaxMessages:
			return nil, fmt.Errorf("%w (more than %d items)", errTooLarge, n)
		}
		one, err := s.read(m, got)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out.WriteByte(',')
		}
		if out.Write(one); out.Len() >= s.c.MaxResult {
			return nil, errTooLarge
		}
		if asked {
			tell(tools.Progress{Done: float64(n + 1)})
		}
	}
}

// read decodes one answer, and has the descriptors read again if it is newer.
func (s *Source) read(m *method, got []byte) (json.RawMessage, error) {
	out, newer, err := m.decode(s.c, got)
	if newer {
		s.poke()
	}
	return out, err
}

// ended says how a call ended, in words that a model can use. What the backend itself
// says is an error and not a fault: only so it is withheld where results are hidden.
func (m *method) ended(err error, t *ticket) error {
	write := m.Effect != tools.Read
	switch {
	case err == nil:
		return nil
	case !t.made && t.err != nil && !t.moved:
		if f, ok := errors.AsType[*fault.Error](t.err); ok {
			return f // who issues the token says why there is none
		}
		return errNoToken.Because(t.err)
	case !t.made:
		return errDown.Because(clean(err))
	case errors.Is(t.err, errAgain): // and the server says that it has not looked at it
		if write {
			return errOutcome.Because(errAgain)
		}
		return errLost.Because(errAgain)
	case errors.Is(err, errUnreadable) || errors.Is(err, errTooLarge) || tooLarge(err):
		if write {
			return errUnread.Because(m.said(err))
		}
		if tooLarge(err) {
			return errTooLarge
		}
		return err
	}
	return m.answered(status.Convert(err), write)
}

// answered is a call that a status ended.
func (m *method) answered(s *status.Status, write bool) error {
	cause := m.said(s.Err())
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.DataLoss:
		if write {
			return errOutcome.Because(cause)
		}
	}
	switch s.Code() {
	case codes.Unavailable:
		return errLost.Because(cause)
	case codes.DeadlineExceeded, codes.Canceled:
		return errSlow.Because(cause)
	}
	return cause
}

// tooLarge reports an answer that was not received whole. gRPC has no other sign.
func tooLarge(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && strings.HasPrefix(s.Message(), "grpc: ") && strings.Contains(s.Message(), "larger than max")
}

// maxSaid bounds what is kept of a backend's words.
const maxSaid = 1 << 10

// saidError is an error of the backend: hostile text, made fit.
type saidError struct {
	code codes.Code
	text string
}

// Error names the code as gRPC writes it.
func (e *saidError) Error() string {
	if e.text == "" {
		return "the tool answered " + e.code.String()
	}
	return "the tool answered " + e.code.String() + ": " + e.text
}

// withheldError is one of which nobody reads more than the code, neither the model nor
// the operator in the log: fields of the tool's answers are hidden, and its text may have
// them too.
type withheldError struct{ code codes.Code }

func (e *withheldError) Error() string {
	return (&saidError{code: e.code}).Error() + "; what it says is withheld, as parts of its answers are"
}

// said is why a call failed. A backend that says what is wrong quotes what it has; an
// error without a status is ours.
func (m *method) said(err error) error {
	if s, its := status.FromError(err); its && m.hides {
		return &withheldError{s.Code()}
	}
	return clean(err)
}

func clean(err error) error {
	s := status.Convert(err)
	return &saidError{s.Code(), tools.Clean(s.Message(), maxSaid)}
}
