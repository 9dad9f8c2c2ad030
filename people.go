package behalf

import (
	"context"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// people is the engine for those who answer: when it is a person's turn in a
// group chat, only that person can. It is the one way for every RPC that brings
// input.
type people struct {
	*runs.Engine
	s *Server
}

var (
	errNotAsked = fault.New(codes.FailedPrecondition, fault.RunNotActive, "the run does not wait for this, or has ended; look at its state")
	errWhich    = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the run waits for several answers; name the one you answer")
	errNotYou   = fault.New(codes.PermissionDenied, fault.OwnerMismatch, "it is another person's turn to answer")
)

// Answer implements server.Runs. Only a request that was found open and checked
// is passed on, by its id: another one may open meanwhile.
func (p *people) Answer(ctx context.Context, tenant, runID string, body agents.Body) (uint64, error) {
	in, ok := body.(agents.InputReceived)
	if !ok {
		return p.Engine.Answer(ctx, tenant, runID, body)
	}
	rec, err := p.Find(ctx, tenant, runID)
	if err != nil {
		return 0, err
	}
	open, err := p.open(ctx, rec)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(open, func(r agents.InputRequested) bool { return r.InputRequestID == in.InputRequestID })
	g, _ := identity.FromContext(ctx)
	switch {
	case in.InputRequestID == "" && len(open) > 1:
		return 0, errWhich
	case in.InputRequestID == "" && len(open) == 1:
		i, in.InputRequestID = 0, open[0].InputRequestID
	case i < 0:
		return 0, errNotAsked
	}
	session, err := p.FindSession(ctx, tenant, rec.SessionID)
	if err != nil {
		return 0, err
	}
	if !p.may(g, open[i].From, session) {
		return 0, errNotYou
	}
	return p.Engine.Answer(ctx, tenant, runID, in)
}

// open are the requests of a run that nobody has answered.
func (p *people) open(ctx context.Context, rec runs.RunRecord) (open []agents.InputRequested, err error) {
	for ev, err := range p.s.log.Read(ctx, runs.Key{Tenant: rec.Tenant, Session: rec.SessionID}) {
		if err != nil {
			return nil, err
		}
		if ev.RunID != rec.RunID {
			continue
		}
		switch b := ev.Body.(type) {
		case agents.InputRequested:
			open = append(open, b)
		case agents.InputReceived:
			open = slices.DeleteFunc(open, func(r agents.InputRequested) bool { return r.InputRequestID == b.InputRequestID })
		}
	}
	return open, nil
}

// may reports whether the caller is the person that a participant stands for. Who
// asks for input and is no person of the config leaves it to the session's rules.
func (p *people) may(g identity.Grant, from string, rec runs.SessionRecord) bool {
	cfg := p.s.current().cfg
	a, ok := cfg.Agents[from]
	if _, chat := cfg.GroupChats[from]; !ok && !chat {
		return false // whoever it stood for, they are gone from the config
	}
	if a.Kind != config.KindHuman {
		return true
	}
	user := g.Principal().User
	switch {
	case a.Who == nil:
		return runs.OwnerOf(g) == rec.Owner
	case user == nil:
		return false
	case a.Who.User != "":
		return user.Subject == a.Who.User
	}
	return slices.Contains(user.Roles, a.Who.Role)
}
