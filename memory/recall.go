package memory

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// How much is told to a model at once.
const (
	MaxRecalled      = 32       // items
	MaxRecalledBytes = 16 << 10 // of all their texts
)

// Recaller is the memory of the person whose authority a run has. It asks the
// store anew each time, by that person: a session with several people has no
// memory of its own.
//
// What is recalled are the newest items, whatever the question is. Choosing by
// meaning needs a model for embeddings and an index of other people's words for
// each person, and is not done here.
type Recaller struct {
	Store   Store
	Person  bool // what is about the person
	Session bool // what is about the session that the run is in
}

var _ agents.Hearsay = (*Recaller)(nil)

// Hearsay marks what is recalled as what people and models said.
func (*Recaller) Hearsay() {}

// Recall gives the newest items, oldest first, at most MaxRecalled and
// MaxRecalledBytes.
func (r *Recaller) Recall(ctx context.Context, _ string, t *agents.Transcript) ([]string, error) {
	owner, err := OwnerOf(ctx)
	if errors.Is(err, errLent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	which := Which{Owner: owner, Person: r.Person}
	if r.Session {
		which.Session = t.SessionID()
	}
	items, err := r.Store.Memories(ctx, which, "", MaxRecalled)
	if err != nil {
		return nil, unreachable(err)
	}
	var told []string
	room := MaxRecalledBytes
	for _, item := range items[:min(len(items), MaxRecalled)] {
		text := oneLine(item.Text)
		if room -= len(text); room < 0 {
			break
		}
		told = append(told, text)
	}
	slices.Reverse(told)
	return told, nil
}

// oneLine keeps a text from looking like several items, or like what stands
// around the list of them.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, ""), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}

// unreachable hides why a store failed from models and callers.
func unreachable(err error) error {
	return fault.New(codes.Unavailable, fault.ToolUnavailable, "the memory cannot be reached now; try again later").Because(err)
}
