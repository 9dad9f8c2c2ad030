package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
)

// Key signs checkpoints in tests.
func Key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) }

// Running is a store whose writer runs.
type Running struct {
	*store.Store
	Clock *Clock
	stop  func()
}

// Start opens a store, with a key and a clock of its own unless cfg has them,
// and runs its writer until the test ends or Stop.
func Start(t testing.TB, cfg store.Config) *Running {
	t.Helper()
	clock := &Clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if cfg.Clock == nil {
		cfg.Clock = clock.Now
	}
	if cfg.Key == nil {
		cfg.Key = Key()
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &Running{Store: s, Clock: clock}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// Stop ends the writer as at a shut-down and closes the store.
func (r *Running) Stop() { r.stop() }

// Clock is a clock that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock on.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Sample is a record as the Guard fills it for an allowed tool call.
func Sample(tenant, callID string) *audit.Record {
	return &audit.Record{
		Time: time.Now().UnixNano(), Tenant: tenant,
		User:     audit.User{Issuer: "https://idp.example", Subject: "alice", Email: "alice@corp.example"},
		Workload: "spiffe://corp.example/ns/chat/sa/frontend", LeafThumbprint: "h5Vdn1mFq0wqN4bVhEwzFvwGfLxvTz1dWmV0fWc5V1A", Agent: "refunds",
		Chain: []string{"support", "refunds"}, GrantID: "grt_abcdefghijklmnopqrstuvwxyz", Roles: []string{"agent", "manager"},
		Scopes: []string{"crm.read", "orders.refund"}, ACR: "mfa", AuthTime: 1_789_999_000_000_000_000, Tier: "interactive", TokenID: "jti-1",
		SessionID: "ses_abcdefghijklmnopqrstuvwxyz", RunID: "run_abcdefghijklmnopqrstuvwxyz", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		CallID: callID, Phase: audit.Decision, Action: "call_tool", Resource: `Tool::"refund_order"`, Tool: "refund_order",
		DescriptorHash:    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		ArgumentsDigest:   "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
		RedactedArguments: `{"amount":12,"note":"<redacted>","order":"O-1"}`,
		Decision:          audit.Allow, PolicyIDs: []string{"refund-own"}, PolicyRevision: "rev-7", Governed: true,
	}
}

// Outcome is the record of the end of the call that decision began.
func Outcome(decision *audit.Record) *audit.Record {
	r := *decision
	r.Phase, r.Decision, r.Outcome, r.Duration = audit.Outcome, "", "succeeded", int64(time.Millisecond)
	return &r
}
