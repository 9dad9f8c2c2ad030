package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// How much is kept.
const (
	MaxItems      = 1000    // of one person, in all sessions and without one
	MaxPerSession = 200     // of one person in one session; they count above too
	MaxText       = 4 << 10 // bytes of one text
)

// Owner is whose memory it is: a person, or a workload that calls alone (its
// SPIFFE ID as Subject, no Issuer). The same subject at another issuer is
// somebody else.
type Owner struct{ Tenant, Issuer, Subject string }

// Item is one remembered text.
type Item struct {
	ID        string
	SessionID string // empty: about the person, wherever they are
	Text      string
	Created   time.Time
}

// Which says which items of a person are meant. The zero value means none.
type Which struct {
	Owner   Owner
	All     bool   // whatever they are about
	Person  bool   // those about the person
	Session string // those about this session; empty: none
}

// Store keeps the items. Each method is about one owner, and is never to touch
// or tell what is another's. It is as wide as what is asked of one table.
type Store interface {
	// Remember keeps a text and gives its item. What is remembered already becomes
	// the newest. It fails with *FullError when there is no room, and with a fault
	// NOT_FOUND when the tenant has no such session (any more).
	Remember(ctx context.Context, o Owner, sessionID, text string) (Item, error)
	// Memories gives the newest items first, at most limit, those behind the item
	// after (or from the newest, when after is empty). An unknown after is a fault
	// NOT_FOUND.
	Memories(ctx context.Context, w Which, after string, limit int) ([]Item, error)
	// Forget erases the owner's item of this id, and tells whether there was one.
	Forget(ctx context.Context, o Owner, id string) (bool, error)
	// ForgetAll erases the items and says how many there were.
	ForgetAll(ctx context.Context, w Which) (int, error)
}

// FullError says that a memory has no room.
type FullError struct{ Session bool }

// Error is for models and callers: what to do.
func (e *FullError) Error() string {
	if e.Session {
		return fmt.Sprintf("the memory of this session is full (%d texts): look at it with list_memories, forget what is not needed any more, and remember this again", MaxPerSession)
	}
	return fmt.Sprintf("the memory is full (%d texts in all sessions): look at it with list_memories, forget what is not needed any more, and remember this again", MaxItems)
}

// errLent keeps what somebody had remembered from those in whose turns their
// authority is used.
var errLent = fault.New(codes.PermissionDenied, fault.OwnerMismatch, "this turn has the authority of the session's owner and not their memory; only the owner's own turns remember and recall")

// OwnerOf names whose memory a run or a call may use: that of the person whose
// authority it has, in their own turns. Authority that is lent to another's turn
// brings nobody's memory.
func OwnerOf(ctx context.Context) (Owner, error) {
	g, ok := identity.FromContext(ctx)
	if _, lent := g.Speaker(); lent {
		return Owner{}, errLent
	}
	p := g.Principal()
	o := Owner{Tenant: p.Tenant(), Subject: p.Subject()}
	if !ok || o.Tenant == "" || o.Subject == "" {
		return Owner{}, fault.New(codes.Internal, fault.Internal, "no identity is bound to this call")
	}
	if p.User != nil {
		o.Issuer = p.User.Issuer
	}
	return o, nil
}
