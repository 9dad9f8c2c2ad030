package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Identifier says who calls: by the connection and the metadata, or by a token
// that came inside a conversation.
type Identifier interface {
	interceptors.Identifier
	IdentifyToken(ctx context.Context, conn *tls.ConnectionState, token identity.Secret) (identity.Principal, error)
}

type conversationService struct {
	behalfv1.UnimplementedConversationServiceServer
	runs     Runs
	guard    Guard
	identify Identifier
	silence  time.Duration

	approvals Approvals
}

type conversationStream = grpc.BidiStreamingServer[behalfv1.ConverseRequest, behalfv1.ConverseResponse]

// Converse opens a conversation and has it until one side ends it. The chain has
// seen the opening and decided it.
func (s *conversationService) Converse(stream conversationStream) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the stream ended before it was opened; send `open` first")
	}
	if err != nil {
		return err
	}
	g, err := grant(stream.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	c := &conversation{
		conversationService: s, stream: stream, ctx: ctx, cancel: cancel, open: first.GetOpen(), to: aim(first.GetOpen()),
		tenant: g.Tenant(), grant: g, session: first.GetOpen().GetSessionId(), turns: make(chan *turn), refused: make(chan *behalfv1.RefreshRefused, maxRefused),
	}
	c.answers.SetLimit(maxAnswers)
	c.silent = time.AfterFunc(s.silence, func() {
		c.end(fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded, "nothing was said for too long; open the conversation again with its session_id"))
	})
	if err := c.join(); err != nil {
		c.close()
		return err
	}
	return c.have()
}

// join looks up the session that the conversation continues, and takes up its
// open run, if there is one and it is the caller's, after what is stored by now.
// In another's session the chain has asked whether they may speak; take asks again
// for each turn.
func (c *conversation) join() error {
	if c.session == "" {
		return nil
	}
	rec, st, err := c.runs.Session(c.ctx, c.tenant, c.session)
	switch {
	case err != nil:
		return err
	case rec.Owner != runs.OwnerOf(c.grant) && !c.to.groupChat:
		return notFound("session")
	case rec.Target != c.to.name || st.First > 0 && st.Started.GroupChat != c.to.groupChat:
		return malformed("open", "the session is bound to another target; start a new session for this one")
	case !st.Open():
		return nil
	}
	run, err := c.runs.Find(c.ctx, c.tenant, st.RunID)
	if err != nil {
		return err
	}
	if run.Owner != runs.OwnerOf(c.grant) { // what is said meanwhile is SESSION_BUSY
		return ignore(freshen(c.ctx, c.runs, st.RunID), fault.RunNotActive)
	}
	c.turn = newTurn(nil)
	c.turn.run, c.turn.after = st.RunID, st.Last
	close(c.turn.started)
	return ignore(freshen(c.ctx, c.runs, st.RunID), fault.RunNotActive)
}

// ignore takes a refusal for an answer: what was to be done has happened.
func ignore(err error, reason fault.Reason) error {
	if errors.Is(err, reason) {
		return nil
	}
	return err
}
