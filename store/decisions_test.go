package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// BenchmarkDecisions64 has 64 callers ask a guard with 50 rules for a tool call, wait
// until the decision is durable, and record the outcome.
func BenchmarkDecisions64(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		benchmarkDecisions(b, storetest.Start(b, store.Config{DSN: "sqlite://" + filepath.Join(b.TempDir(), "behalf.db"), Clock: time.Now}))
	})
	b.Run("memory", func(b *testing.B) { benchmarkDecisions(b, audit.NewMemory(nil)) })
}

func benchmarkDecisions(b *testing.B, sink audit.Sink) {
	guard := newGuard(b, sink)
	user := &identity.User{Issuer: "https://idp.example", Subject: "alice", Tenant: "acme", Roles: []string{"support"}, Expires: time.Now().Add(time.Hour)}
	grant := identity.Root("grt_bench", identity.Principal{User: user}, nil, "")
	left := atomic.Int64{}
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				q := &policy.Query{Grant: grant, Action: policy.ActionCallTool, Resource: policy.Entity{Type: "Tool", ID: "pay"}, Tool: "pay", Time: time.Now()}
				p, err := guard.Begin(b.Context(), q)
				if err == nil {
					err = p.Wait(b.Context())
				}
				if err != nil {
					b.Error(err)
					return
				}
				p.Done(b.Context(), policy.Result{Outcome: policy.Succeeded})
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}

func newGuard(b *testing.B, sink audit.Sink) *policy.Guard {
	var rules strings.Builder
	rules.WriteString(`@id("all") permit (principal, action, resource);`)
	for i := range 49 {
		fmt.Fprintf(&rules, "\n@id(\"r%d\") forbid (principal in Role::\"role-%d\", action == Action::\"call_tool\", resource == Tool::\"pay\");", i, i)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.cedar"), []byte(rules.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	set, err := policy.Load(policy.Config{Dir: dir, Tools: []policy.ToolSchema{{Name: "pay", Toolset: "desk"}}, Actions: []string{policy.ActionCallTool}})
	if err != nil {
		b.Fatal(err)
	}
	guard, err := policy.NewGuard(policy.GuardConfig{Sink: sink, DigestKey: func(string) []byte { return []byte("a key of this benchmark") }})
	if err != nil {
		b.Fatal(err)
	}
	guard.Swap(policy.NewEngine(set))
	return guard
}
