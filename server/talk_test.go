package server_test

import (
	"context"
	crand "crypto/rand"
	"errors"
	"io"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// random is the machine's randomness; tests read it from many goroutines.
type random struct{}

func (random) Read(b []byte) (int, error) { return crand.Read(b) }

// errInfo is what an error says of the run that waits.
type errInfo struct{ run, session, input string }

func infoOf(t *testing.T, err error) *errInfo {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			m := i.GetMetadata()
			return &errInfo{m["run_id"], m["session_id"], m["input_request_id"]}
		}
	}
	t.Fatalf("%v carries no details", err)
	return nil
}

// talk is a client's side of a conversation.
type talk struct {
	t *testing.T
	grpc.BidiStreamingClient[behalfv1.ConverseRequest, behalfv1.ConverseResponse]
	leave context.CancelFunc
	all   []*behalfv1.Event
}

func (c *client) converse(t *testing.T) *talk {
	t.Helper()
	ctx, leave := context.WithCancel(c.ctx(t))
	t.Cleanup(leave)
	s, err := behalfv1.NewConversationServiceClient(c).Converse(ctx)
	succeed(t, err)
	return &talk{t: t, BidiStreamingClient: s, leave: leave}
}

// open begins to talk with ada, or with the group chat.
func (k *talk) open(chat, session string) *talk {
	k.t.Helper()
	o := &behalfv1.OpenConversation{Target: &behalfv1.OpenConversation_Agent{Agent: "ada"}, SessionId: session}
	if chat != "" {
		o.Target = &behalfv1.OpenConversation_GroupChat{GroupChat: chat}
	}
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: o}})
	return k
}

func (k *talk) send(m *behalfv1.ConverseRequest) {
	k.t.Helper()
	if err := k.Send(m); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv knows why
		k.t.Fatal(err)
	}
}

func (k *talk) say(text string) {
	k.t.Helper()
	k.answer("", text)
}

func (k *talk) answer(id, text string) {
	k.t.Helper()
	k.input(&behalfv1.ConversationInput{Text: text, InputRequestId: id})
}

func (k *talk) input(in *behalfv1.ConversationInput) {
	k.t.Helper()
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Input{Input: in}})
}

func (k *talk) cancel() {
	k.t.Helper()
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_CancelTurn{CancelTurn: &behalfv1.CancelTurn{}}})
}

func (k *talk) refresh(token string) {
	k.t.Helper()
	k.send(&behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Refresh{Refresh: &behalfv1.RefreshCredential{AccessToken: token}}})
}

// until receives up to an event that want accepts.
func (k *talk) until(want func(*behalfv1.Event) bool) *behalfv1.Event {
	k.t.Helper()
	for {
		m, err := k.Recv()
		if err != nil {
			k.t.Fatalf("the conversation ended with %v after %v", err, k.all)
		}
		k.all = append(k.all, m.GetEvent())
		if want(m.GetEvent()) {
			return m.GetEvent()
		}
	}
}

func finished(e *behalfv1.Event) bool  { return e.GetRunFinished() != nil && e.GetThread() == "" }
func asks(e *behalfv1.Event) bool      { return e.GetInputRequested() != nil }
func somewhat(e *behalfv1.Event) bool  { return e.GetTextDelta() != nil }
func beginning(e *behalfv1.Event) bool { return e.GetRunStarted() != nil }

// end receives until the server ends the stream, and gives its status.
func (k *talk) end() error {
	k.t.Helper()
	for {
		m, err := k.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		k.all = append(k.all, m.GetEvent())
	}
}
