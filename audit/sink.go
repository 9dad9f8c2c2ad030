package audit

import (
	"context"
	"fmt"
	"time"
)

// Sink is where records become durable. Append queues at once and never
// blocks on the disk; entries become durable in the order of Append, so a
// durable entry means that all before it are durable too. An entry that nobody
// waits for becomes durable soon.
//
// A sink that cannot take the entry (closed, queue full, broken disk) answers
// through the receipt. It may be used by many goroutines.
type Sink interface {
	Append(Entry) *Receipt
}

// Receipt tells when an entry is durable. Make one with NewReceipt.
type Receipt struct {
	done chan struct{}
	err  error
	urge func() // nil: the sink hurries anyway

	divert func(context.Context) bool // nil: there is no other place
}

// NewReceipt makes a receipt that the sink settles once.
func NewReceipt() *Receipt { return &Receipt{done: make(chan struct{})} }

// NewReceiptUrging makes a receipt whose Wait calls urge before it blocks, so
// that a sink can let an entry that nobody waits for share the next one's sync.
func NewReceiptUrging(urge func()) *Receipt {
	return &Receipt{done: make(chan struct{}), urge: urge}
}

// Divertible gives the receipt the way of an entry into the sink's journal, for
// whoever has waited too long. It is called before anybody else has the receipt.
func (r *Receipt) Divertible(divert func(context.Context) bool) { r.divert = divert }

// Divert takes the entry away from a sink that does not answer and says whether it
// is durable in the sink's journal instead. False leaves it to the sink, and then
// it is not known whether it becomes durable.
func (r *Receipt) Divert(ctx context.Context) bool { return r.divert != nil && r.divert(ctx) }

// Settle marks the entry durable, or failed with err. It is called exactly once,
// by the sink.
func (r *Receipt) Settle(err error) {
	r.err = err
	close(r.done)
}

// Settled says whether the receipt is settled.
func (r *Receipt) Settled() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Wait blocks until the entry is durable, or says why it is not. A context that
// ends first is an error too: not known to be durable means not durable.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	default:
	}
	if r.urge != nil {
		r.urge()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("wait for audit: %w", context.Cause(ctx))
	}
}

// Exhausted says that something which an entry claims was not to be had: room in a
// bucket, or an approval. The denial is recorded.
type Exhausted struct {
	Bucket     string
	Reason     string // ErrorReason name; empty: RATE_LIMITED
	RetryAfter time.Duration
}

func (e *Exhausted) Error() string { return "exhausted: " + e.Bucket + " " + e.Reason }
