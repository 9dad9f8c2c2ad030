package memory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// How much list_memories gives at once.
const (
	maxPage      = 32
	maxPageBytes = 32 << 10
)

type rememberArgs struct {
	Text  string `json:"text" jsonschema:"what to remember, in plain text of at most 4096 bytes"`
	About string `json:"about" enum:"me,session" jsonschema:"me: for all conversations of the person; session: for this conversation only"`
}

type listArgs struct {
	About string `json:"about" enum:"me,session" jsonschema:"me: everything that is remembered of the person, in whatever conversation; session: what is remembered of this conversation"`
	After string `json:"after,omitempty" jsonschema:"the value of next, to go on where the last list ended"`
}

type forgetArgs struct {
	ID string `json:"id" jsonschema:"the id of the memory, as list_memories gives it"`
}

type forgetAllArgs struct {
	About string `json:"about" enum:"me,session" jsonschema:"me: everything that is remembered of the person, in all conversations; session: what is remembered of this conversation"`
}

// memo is an item as callers see it.
type memo struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`
	SessionID string    `json:"session_id,omitempty"`
	Created   time.Time `json:"created"`
}

type page struct {
	Memories []memo `json:"memories"`
	Next     string `json:"next,omitempty"`
}

type forgotten struct {
	Forgotten int `json:"forgotten"`
}

// Tools are the ways in and out of a memory. None has an argument that says
// whose it is: that is the grant's person, by whichever agent or call.
func Tools(s Store) []tools.Tool {
	b := &box{s}
	return []tools.Tool{
		tools.FuncIn("remember", "Remembers a text for the person you act for.", b.remember, tools.Idempotent()),
		tools.FuncIn("list_memories", "Lists what is remembered for the person you act for, newest first.", b.list, tools.ReadOnly()),
		tools.FuncIn("forget", "Erases one memory of the person you act for.", b.forget, tools.Idempotent()),
		tools.FuncIn("forget_all", "Erases all memories of the person you act for, or those of this conversation. It cannot be undone.", b.forgetAll, tools.Idempotent(), tools.Risk("medium")),
	}
}

type box struct{ store Store }

var errNoSession = errors.New("this call belongs to no session: make it in a run, name a session_id, or use about: me")

func (b *box) remember(ctx context.Context, in tools.Origin, a rememberArgs) (memo, error) {
	owner, err := OwnerOf(ctx)
	if err != nil {
		return memo{}, err
	}
	text := strings.TrimSpace(a.Text)
	if problem := unfit(text); problem != "" {
		return memo{}, fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the text "+problem)
	}
	session := ""
	if a.About == "session" {
		if session = in.SessionID; session == "" {
			return memo{}, errNoSession
		}
	}
	item, err := b.store.Remember(ctx, owner, session, text)
	return show(item), refused(err)
}

// unfit says why a text is not kept.
func unfit(text string) string {
	switch {
	case text == "":
		return "is empty: say what to remember"
	case len(text) > MaxText:
		return fmt.Sprintf("has %d bytes, at most %d: shorten it, or remember several", len(text), MaxText)
	case !utf8.ValidString(text), strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }):
		return "has control characters: write it as plain text"
	}
	return ""
}

func (b *box) list(ctx context.Context, in tools.Origin, a listArgs) (page, error) {
	which, err := meant(ctx, in, a.About)
	if err != nil {
		return page{}, err
	}
	items, err := b.store.Memories(ctx, which, a.After, maxPage+1)
	if err != nil {
		return page{}, refused(err)
	}
	out := page{Memories: []memo{}}
	room := maxPageBytes
	for _, item := range items {
		if room -= len(item.Text); len(out.Memories) == maxPage || room < 0 {
			out.Next = out.Memories[len(out.Memories)-1].ID
			break
		}
		out.Memories = append(out.Memories, show(item))
	}
	return out, nil
}

func (b *box) forget(ctx context.Context, _ tools.Origin, a forgetArgs) (forgotten, error) {
	owner, err := OwnerOf(ctx)
	if err != nil {
		return forgotten{}, err
	}
	was, err := b.store.Forget(ctx, owner, a.ID)
	if err != nil || !was {
		return forgotten{}, refused(err)
	}
	return forgotten{1}, nil
}

func (b *box) forgetAll(ctx context.Context, in tools.Origin, a forgetAllArgs) (forgotten, error) {
	which, err := meant(ctx, in, a.About)
	if err != nil {
		return forgotten{}, err
	}
	n, err := b.store.ForgetAll(ctx, which)
	return forgotten{n}, refused(err)
}

// meant is what a person looks at or erases. About them is everything that they
// have, so that nothing is left where they do not look.
func meant(ctx context.Context, in tools.Origin, about string) (Which, error) {
	owner, err := OwnerOf(ctx)
	switch {
	case err != nil:
		return Which{}, err
	case about == "me":
		return Which{Owner: owner, All: true}, nil
	case in.SessionID == "":
		return Which{}, errNoSession
	}
	return Which{Owner: owner, Session: in.SessionID}, nil
}

func show(i Item) memo {
	return memo{ID: i.ID, Text: i.Text, SessionID: i.SessionID, Created: i.Created}
}

// refused keeps what is meant for the caller, and hides everything else.
func refused(err error) error {
	if err == nil {
		return nil
	}
	if _, full := errors.AsType[*FullError](err); full {
		return err
	}
	if _, known := errors.AsType[*fault.Error](err); known {
		return err
	}
	return unreachable(err)
}
