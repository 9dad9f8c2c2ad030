package runs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Whose authority the tool calls of a session with several people use. It is the
// group chat's when the session is made, and stays.
const (
	// AuthoritySpeaker: whose turn it is. Who answers in another's run is one more
	// who must be allowed what the run then does.
	AuthoritySpeaker = "speaker"
	// AuthorityOwner: who opened the session, whoever speaks.
	AuthorityOwner = "owner"
	// AuthorityIntersection: all who have spoken in the session, each with their
	// newest credential. Nobody leaves a session before it is deleted: whose
	// credential has ended, or who is locked, stops what the others do.
	AuthorityIntersection = "intersection"
)

// Voice is somebody who has spoken in a session, with the authority that their
// newest words came with.
type Voice struct {
	SessionID string
	Grant     GrantRecord
}

// MaxVoices bounds the people in one session: each call is decided for each.
const MaxVoices = 16

// Voices keeps who spoke in a session that is not one person's alone.
type Voices interface {
	// PutVoice stores a voice and its grant, in the place of the same person's
	// earlier one. More than MaxVoices people are RATE_LIMITED.
	PutVoice(ctx context.Context, v Voice) error
	// Voices lists a session's, in no order.
	Voices(ctx context.Context, tenant, sessionID string) ([]Voice, error)
}

var (
	// errOwnerAway makes a run wait for the credential of its session's owner.
	errOwnerAway = errors.New("the authority of the session's owner has ended")
	errOwnScopes = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "what is done in this session is done with its owner's authority, which you cannot narrow; leave scopes out")
)

// TooManyVoices is what a store answers to one more person.
func TooManyVoices() error {
	return fault.New(codes.ResourceExhausted, fault.RateLimited, "too many people have spoken in this session; start a new one")
}

// authority is what a new session is bound to.
func (e *Engine) authority(spec Spec) string {
	if !spec.GroupChat || e.cfg.Authority == nil {
		return AuthoritySpeaker
	}
	return e.cfg.Authority(spec.Target)
}

// join lets somebody begin a run in a session that is another person's. To
// whoever may not, there is no such session.
func (e *Engine) join(ctx context.Context, rec SessionRecord, g identity.Grant, spec Spec) error {
	if !spec.GroupChat || g.Principal().User == nil || e.cfg.Join == nil || !e.cfg.Join(ctx, rec, g) {
		return notFound("session")
	}
	if rec.Authority != AuthorityOwner {
		return nil
	}
	if g.Narrowed() {
		return errOwnScopes
	}
	return nil
}

// speak keeps the authority of who begins a run where calls of later runs need it.
func (e *Engine) speak(ctx context.Context, s SessionRecord, run *Run) error {
	if s.Authority == AuthorityIntersection || s.Authority == AuthorityOwner && s.Owner == run.rec.Owner {
		return e.keepVoice(ctx, run.rec, run.grant)
	}
	return nil
}

// keepVoice keeps the authority that somebody speaks with.
func (e *Engine) keepVoice(ctx context.Context, rec RunRecord, g identity.Grant) error {
	v := Voice{SessionID: rec.SessionID, Grant: RecordOf(g, e.cfg.Clock())}
	return internal("keep who speaks", e.cfg.Voices.PutVoice(ctx, v))
}

// hear keeps the authority of somebody who answers in another's run. It is kept
// before the answer is, so that no call that follows from it can miss it. Who
// approves a call lends it nothing and says nothing.
func (e *Engine) hear(ctx context.Context, rec RunRecord, body agents.Body) error {
	g, ok := identity.FromContext(ctx)
	if _, says := body.(agents.InputReceived); !ok || !says || OwnerOf(g) == rec.Owner {
		return nil
	}
	if owner, err := e.refreshOwner(ctx, rec); owner || err != nil { // an answer cannot be narrowed, so what they lend must not grow by it
		return err
	}
	return e.keepVoice(ctx, rec, g)
}

// ofOwner is what the session's owner spoke with; false: they never did.
func (e *Engine) ofOwner(ctx context.Context, s SessionRecord) (Voice, bool, error) {
	all, err := e.cfg.Voices.Voices(ctx, s.Tenant, s.SessionID)
	if err != nil {
		return Voice{}, false, internal("find the owner's authority", err)
	}
	i := slices.IndexFunc(all, func(v Voice) bool { return OwnerOf(v.Grant.Restore()) == s.Owner })
	if i < 0 {
		return Voice{}, false, nil
	}
	return all[i], true, nil
}

// refreshOwner puts the fresh credential of a session's owner under what they
// spoke with, for a run of somebody else that acts with it. It never widens that.
func (e *Engine) refreshOwner(ctx context.Context, rec RunRecord) (bool, error) {
	caller, ok := identity.FromContext(ctx)
	s, err := e.cfg.Index.SessionByID(ctx, rec.Tenant, rec.SessionID)
	if err != nil || !ok || s.Authority != AuthorityOwner || s.Owner == rec.Owner || OwnerOf(caller) != s.Owner {
		return false, internal("find the run's session", err)
	}
	v, found, err := e.ofOwner(ctx, s)
	if err != nil || !found {
		return false, err
	}
	v.Grant, err = refreshed(v.Grant, caller)
	if err != nil {
		return false, err
	}
	return true, internal("keep the owner's authority", e.cfg.Voices.PutVoice(ctx, v))
}

// lent is the owner's authority for another's run.
func (x *execution) lent(ctx context.Context, s SessionRecord) (identity.Grant, error) {
	v, found, err := x.e.ofOwner(ctx, s)
	if err != nil {
		return identity.Grant{}, err
	}
	g := v.Grant.Restore()
	if !found || !live(g, x.e.cfg.Clock()) {
		return identity.Grant{}, errOwnerAway
	}
	return g.LentTo(x.grant), nil
}

// borrow holds what an owner has lent for as long as the run uses it: it may be
// cut for the owner's sake too. What has ended by itself is waited for.
func (x *execution) borrow(ctx context.Context, g identity.Grant) (context.Context, func() error, error) {
	if _, lent := g.Speaker(); !lent || x.e.cfg.Hold == nil {
		return ctx, func() error { return nil }, nil
	}
	held, release, err := x.e.cfg.Hold(ctx, x.rec, g)
	if err != nil {
		return ctx, func() error { return nil }, ofOwnerEnded(err)
	}
	unwatch := context.AfterFunc(held, func() {
		if why := ofOwnerEnded(context.Cause(held)); ctx.Err() == nil && why != errOwnerAway { //nolint:errorlint // it is made here
			x.stop(why) // also when the listener holds up the loop
		}
	})
	return held, func() error {
		defer release()
		defer unwatch()
		if ctx.Err() != nil || held.Err() == nil {
			return nil
		}
		return ofOwnerEnded(context.Cause(held))
	}, nil
}

func ofOwnerEnded(err error) error {
	if errors.Is(err, fault.CredentialExpired) {
		return errOwnerAway
	}
	return err
}

func live(g identity.Grant, now time.Time) bool { return now.Before(g.Expires()) }

// acting is the authority for the run's next stretch: its own person's, or its
// session's owner's, with all others without whom nothing may be done.
func (x *execution) acting(ctx context.Context) (identity.Grant, error) {
	s, err := x.sessionRecord(ctx)
	if err != nil {
		return identity.Grant{}, err
	}
	switch {
	case s.Authority == AuthorityOwner && s.Owner == x.rec.Owner:
		return x.grant, nil
	case s.Authority == AuthorityOwner:
		return x.lent(ctx, s)
	case s.Authority == AuthorityIntersection:
		return x.together(ctx, func(Owner) bool { return true })
	}
	return x.answered(ctx)
}

// answered is the run's grant with those of all who have answered in it. Who that
// is the log says: what they have said elsewhere since changes nothing. Somebody
// whose voice is not there must not be left out.
func (x *execution) answered(ctx context.Context) (identity.Grant, error) {
	if len(x.status.Answered) == 0 {
		return x.grant, nil
	}
	g, err := x.together(ctx, func(o Owner) bool { return slices.Contains(x.status.Answered, o.answersAs()) })
	if err != nil {
		return identity.Grant{}, err
	}
	want := len(x.status.Answered)
	if slices.Contains(x.status.Answered, x.rec.Owner.answersAs()) {
		want--
	}
	if len(g.Others()) < want {
		return identity.Grant{}, errNoVoice
	}
	return g, nil
}

var errNoVoice = errors.New("somebody has answered whose authority is not kept")

// answersAs is the subject under which somebody's answers are in the log: none of
// a workload that acts for nobody.
func (o Owner) answersAs() string {
	if o.Issuer == "" {
		return ""
	}
	return o.Subject
}

// sessionRecord is the run's session as it was made.
func (x *execution) sessionRecord(ctx context.Context) (SessionRecord, error) {
	if x.session.rec.SessionID != "" {
		return x.session.rec, nil
	}
	rec, err := x.e.cfg.Index.SessionByID(ctx, x.rec.Tenant, x.rec.SessionID)
	x.session.rec = rec
	return rec, internal("find the run's session", err)
}

// together is the run's grant with those of others.
func (x *execution) together(ctx context.Context, counts func(Owner) bool) (identity.Grant, error) {
	all, err := x.e.cfg.Voices.Voices(ctx, x.rec.Tenant, x.rec.SessionID)
	if err != nil {
		return identity.Grant{}, internal("find who has spoken", err)
	}
	var others []identity.Grant
	for _, v := range all {
		g := v.Grant.Restore()
		if o := OwnerOf(g); o != x.rec.Owner && counts(o) {
			others = append(others, g)
		}
	}
	return x.grant.With(others...), nil
}

// heard notes who has answered in the run.
func (s *Status) heard(e *agents.Event) {
	if b, ok := e.Body.(agents.InputReceived); ok && !slices.Contains(s.Answered, b.Speaker.Subject) {
		s.Answered = append(slices.Clip(s.Answered), b.Speaker.Subject)
	}
}
