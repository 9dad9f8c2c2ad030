package server

import (
	"context"
	"fmt"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/protobuf/proto"
)

type sessionService struct {
	behalfv1.UnimplementedSessionServiceServer
	runs Runs
}

func (s *sessionService) ListSessions(ctx context.Context, r *behalfv1.ListSessionsRequest) (*behalfv1.ListSessionsResponse, error) {
	g, after, err := ownList(ctx, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &behalfv1.ListSessionsResponse{}
	size := pageSize(r.GetPageSize())
	list, err := s.runs.Sessions(ctx, g.Tenant(), runs.OwnerOf(g), after, size)
	if err != nil {
		return nil, err
	}
	for _, rec := range list {
		out.Sessions = append(out.Sessions, sessionOf(rec, nil))
	}
	if len(list) == size {
		out.NextPageToken = token64(list[size-1].SessionID)
	}
	return out, nil
}

// pageBytes bounds a page beside its number of messages, of which one may have
// 256 KiB. A page has one message at least.
const pageBytes = 1 << 20

// GetSession gives the session and a page of its messages, oldest first.
func (s *sessionService) GetSession(ctx context.Context, r *behalfv1.GetSessionRequest) (*behalfv1.GetSessionResponse, error) {
	g, after, err := ownList(ctx, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	rec, st, err := s.runs.Session(ctx, g.Tenant(), r.GetSessionId())
	if err != nil {
		return nil, err
	}
	out := &behalfv1.GetSessionResponse{Session: sessionOf(rec, &st)}
	size, bytes := pageSize(r.GetPageSize()), 0
	for e, err := range s.runs.Messages(ctx, g.Tenant(), r.GetSessionId()) {
		if err != nil {
			return nil, err
		}
		if sequence(e.Sequence) <= after {
			continue
		}
		m, n := wire.Encode(&e), len(out.GetMessages())
		if bytes += proto.Size(m); n == size || n > 0 && bytes > pageBytes {
			out.NextPageToken = token64(sequence(uint64(out.GetMessages()[n-1].GetSequence())))
			break
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}

// sequence is a page name that sorts like its number.
func sequence(n uint64) string { return fmt.Sprintf("%020d", n) }

func (s *sessionService) DeleteSession(ctx context.Context, r *behalfv1.DeleteSessionRequest) (*behalfv1.DeleteSessionResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	return &behalfv1.DeleteSessionResponse{}, s.runs.Delete(ctx, g.Tenant(), r.GetSessionId())
}

func sessionOf(rec runs.SessionRecord, st *runs.Status) *behalfv1.Session {
	out := &behalfv1.Session{
		SessionId: rec.SessionID, Target: rec.Target, CreatedAt: nanos(rec.Created), UpdatedAt: nanos(rec.Updated),
		Owner: &behalfv1.User{Issuer: rec.Owner.Issuer, Subject: rec.Owner.Subject, Tenant: rec.Tenant},
	}
	if rec.Owner.Issuer == "" {
		out.Owner, out.Workload = nil, rec.Owner.Subject
	}
	if st == nil {
		return out
	}
	out.TargetKind = behalfv1.TargetKind_TARGET_KIND_AGENT
	if st.Started.GroupChat {
		out.TargetKind = behalfv1.TargetKind_TARGET_KIND_GROUP_CHAT
	}
	out.LastSequence = int64(st.Last)
	if st.Open() {
		out.OpenRunId, out.OpenRunState = st.RunID, runState(st.State())
	}
	return out
}
