package behalf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/server"
	"google.golang.org/grpc/codes"
)

// openTools asks the tools' backends what they have, and puts the first snapshot in
// force.
func (s *Server) openTools(ctx context.Context) (err error) {
	s.backends, s.demands, s.toldWeaker = newBackends(), demands{}, map[string]string{}
	if s.holders, err = s.store.ToolNames(ctx); err != nil { // then more names wait for their backends
		s.opt.log.WarnContext(ctx, "whose the names of backends' tools were cannot be read", slog.String("why", err.Error()))
	}
	s.keptNames = s.holders
	s.stage("tools of backends", s.followTools)
	sn := s.current()
	if sn.external() {
		sn, err = s.prepare(ctx, s.cfg)
	} else {
		err = sn.build()
	}
	if err != nil {
		return err
	}
	s.putInForce(ctx, sn)
	return nil
}

// putInForce makes a snapshot the one that everybody asks, and tells the operator what
// is doubtful in its policies. They decide first: what agents are new shall never be
// held against the policies from before. What is old is held against the new ones
// anyway, as long as its runs go on.
func (s *Server) putInForce(ctx context.Context, sn *snapshot) {
	for _, w := range sn.set.Warnings() {
		s.opt.log.WarnContext(ctx, "policy warning", slog.String("warning", w))
	}
	s.guard.Swap(policy.NewEngine(sn.set))
	was := s.inForce.Swap(sn)
	s.demands.keep(was, sn)
	s.holders = s.holders.keep(sn)
	s.backends.retire(sn.gone(was))
}

// leave stops what only this snapshot runs, which is not taken.
func (sn *snapshot) leave(inForce *snapshot) {
	for _, r := range inForce.gone(sn) {
		r.cancel()
	}
}

// gone are the sources that another snapshot runs and this one does not.
func (sn *snapshot) gone(was *snapshot) (old []*running) {
	for name, r := range was.sources {
		if r.cancel != nil && sn.sources[name] != r {
			old = append(old, r)
		}
	}
	return old
}

// reload takes the config as it is now, whole or not at all: everything is made and
// fetched before anything is put in force. Issuers come last, so that nobody whom they
// vouch for is held against what was before; what those leave behind that are gone is
// cut when nobody can begin anew.
func (s *Server) reload(ctx context.Context) (server.Reloaded, error) {
	if err := s.reloads.take(ctx); err != nil {
		return server.Reloaded{}, err
	}
	defer s.reloads.leave()
	was := s.current()
	cfg, err := s.reread()
	if err != nil {
		return server.Reloaded{}, notTaken(err)
	}
	next, err := s.prepare(ctx, cfg)
	if err != nil {
		return server.Reloaded{}, notTaken(err)
	}
	trust, err := s.prepareTrust(ctx, cfg)
	if err != nil {
		next.leave(was)
		return server.Reloaded{}, notTaken(err)
	}
	s.putInForce(ctx, next)
	trust()
	s.guard.Distrust()
	s.rememberNames(ctx)
	s.opt.log.InfoContext(ctx, "reloaded", slog.String("policy_revision", next.set.Revision()), slog.String("config_revision", cfg.Revision()))
	return server.Reloaded{PolicyRevision: next.set.Revision(), ConfigRevision: cfg.Revision(), Notes: next.lacks(was)}, nil
}

// turns lets one at a time.
type turns chan struct{}

func (t turns) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turns) leave() { <-t }

// reread is the config as it is now. Of a file with problems the rest is looked at
// too, so that all are told at once.
func (s *Server) reread() (*config.Config, error) {
	if s.opt.reread == nil {
		return s.current().cfg, nil
	}
	cfg, err := s.opt.reread()
	if p, ok := errors.AsType[*config.Problems](err); ok && p.Rest != nil {
		rest := &snapshot{Server: s, cfg: p.Rest}
		return nil, errors.Join(err, rest.read())
	}
	return cfg, err
}

// prepare makes the snapshot of a config and puts nothing in force. Backends that are
// new are asked once the rest has no problems; if anything has, they are left again.
func (s *Server) prepare(ctx context.Context, cfg *config.Config) (*snapshot, error) {
	var problems []error
	if list := s.cfg.NeedsRestart(cfg); len(list) > 0 {
		problems = append(problems, &config.Problems{List: list})
	}
	next := &snapshot{Server: s, cfg: cfg}
	problems = append(problems, next.keep(s.current()), next.readOrFreeze(ctx))
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	fresh, err := next.begin(ctx)
	if err == nil && len(fresh) > 0 {
		err = next.read()
	}
	if err == nil {
		err = next.build()
	}
	if err != nil {
		for _, r := range fresh {
			r.cancel()
		}
		return nil, err
	}
	for name, r := range next.sources {
		if slices.Contains(fresh, r) {
			s.tellBackend(ctx, name, r)
		}
	}
	s.tellLeft(ctx, next.left)
	return next, nil
}

// followTools takes the tools of backends that have others than before: one that comes
// up, that has a new release, or of which somebody accepted a tool. A backend that
// changes all the time is followed once a second.
func (s *Server) followTools(ctx context.Context) error {
	s.rememberAgain(ctx) // of the start
	pause, again := time.NewTicker(retakeEvery), time.NewTicker(rememberEvery)
	defer pause.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			s.rememberAgain(ctx)
			continue
		case <-s.backends.changed:
			s.retake(ctx)
		}
		pause.Reset(retakeEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

const retakeEvery = time.Second

// retake makes the snapshot in force anew with the tools that there are now: the same
// config and the same policies, whatever their files say by now.
func (s *Server) retake(ctx context.Context) {
	if s.reloads.take(ctx) != nil {
		return
	}
	defer s.reloads.leave()
	now := s.current()
	next := &snapshot{Server: s, cfg: now.cfg, policies: now.set.Files(), models: now.models, sources: now.sources}
	err := next.readOrFreeze(ctx)
	for err == nil && next.refuseWeaker(ctx) {
		err = next.readOrFreeze(ctx)
	}
	if err == nil {
		err = next.build()
	}
	if err != nil && ctx.Err() == nil {
		s.opt.log.ErrorContext(ctx, "a backend has other tools than before, and they cannot be taken: those from before stay, and calls of what changed fail; mend what is named and run `behalf reload`",
			slog.String("problems", err.Error()))
	}
	if err != nil {
		return
	}
	s.tellLeft(ctx, next.left)
	if next.registry.Same(now.registry) {
		return
	}
	s.putInForce(ctx, next)
	s.rememberNames(ctx)
	s.opt.log.WarnContext(ctx, "a backend has other tools than before; they are taken", slog.Any("changed", next.registry.Changes(now.registry)), slog.Any("tools", next.registry.Names()), slog.String("policy_revision", next.set.Revision()))
}

// prepareTrust fetches the keys of new issuers. What it gives makes them and the
// grants of workloads hold.
func (s *Server) prepareTrust(ctx context.Context, cfg *config.Config) (hold func(), err error) {
	i := s.trustOf(cfg)
	grants, err := s.peers.Grants(i.Grants)
	if err != nil {
		return nil, fmt.Errorf("identity.workload.grants: %w", err)
	}
	issuers, err := s.verifier.Prepare(ctx, i.Issuers)
	if err != nil {
		return nil, fault.New(codes.Unavailable, fault.KeysetUnavailable, "the keys of a new issuer cannot be had, and nothing was changed; the server's log says why").
			WithFields(fault.Field{Path: "identity.jwt.issuers", Problem: clip(err.Error())}).Because(err)
	}
	return func() {
		s.peers.Replace(grants)
		s.verifier.Replace(issuers)
	}, nil
}

// notTaken says what is wrong with a config that was not taken. Policies alone are
// left to the caller, who has a word of its own for them.
func notTaken(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	var fields []fault.Field
	policies := true
	for _, one := range flat(err) {
		if p, ok := errors.AsType[*policy.Problem](one); ok {
			fields = append(fields, fault.Field{Path: fmt.Sprintf("%s:%d", p.Inside, p.Line), Problem: p.Text})
			continue
		}
		policies = false
		fields = append(fields, misconfigured(one)...)
	}
	if policies {
		return err
	}
	return fault.New(codes.FailedPrecondition, fault.ArgumentInvalid, "the new configuration was refused and the old one stays in force; run `behalf config check` on the server's machine").
		WithFields(fields[:min(len(fields), mostTold)]...).Because(err)
}

// mostTold bounds what one answer names.
const mostTold = 32

// misconfigured gives the places in the config that an error is about. What is not a
// problem of the file itself may quote whatever is in the way: only the key is told.
func misconfigured(err error) (fields []fault.Field) {
	problems, ok := errors.AsType[*config.Problems](err)
	if !ok {
		key, _, _ := strings.Cut(err.Error(), ": ")
		return []fault.Field{{Path: clip(key), Problem: "cannot be used; the server's log says why"}}
	}
	for _, p := range problems.List {
		p.File = filepath.Base(p.File)
		path, problem, _ := strings.Cut(p.String(), ": ")
		fields = append(fields, fault.Field{Path: path, Problem: cmp.Or(problem, p.Message)})
	}
	return fields
}

// flat takes joined errors apart.
func flat(err error) (all []error) {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, one := range several.Unwrap() {
		all = append(all, flat(one)...)
	}
	return all
}

// clip bounds a text that goes into an answer.
func clip(text string) string {
	const most = 300
	text = strings.ReplaceAll(text, "\n", "; ")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
