package runs_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the stored runs of testdata/history that are not there yet")

// TestStoredRunsOfAllReleasesStillReplay reads runs as earlier releases stored
// them. A file is never changed: a new form of events comes with a new file.
func TestStoredRunsOfAllReleasesStillReplay(t *testing.T) {
	if *update {
		writeHistory(t)
	}
	files, err := filepath.Glob("testdata/history/*.binpb")
	if err != nil || len(files) == 0 {
		t.Fatalf("no history: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".binpb"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, raw)
		})
	}
}

func replay(t *testing.T, raw []byte) {
	t.Helper()
	var events []agents.Event
	for in := bytes.NewReader(raw); in.Len() > 0; {
		stored := &behalfv1.Event{}
		if err := protodelim.UnmarshalFrom(in, stored); err != nil {
			t.Fatal(err)
		}
		e, err := wire.Decode(stored)
		if err != nil {
			t.Fatal(err)
		}
		if again := wire.Encode(&e); !proto.Equal(stored, again) {
			t.Errorf("event %d is written otherwise today:\n%v\n%v", e.Sequence, stored, again)
		}
		events = append(events, e)
	}
	log := runs.NewMemory()
	k := runs.Key{Tenant: "acme", Session: events[0].SessionID}
	if err := log.Append(t.Context(), k, 0, events); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, log, talker)
	rec := runs.RunRecord{Tenant: "acme", RunID: events[0].RunID, SessionID: k.Session, Owner: runs.Owner{Issuer: "https://idp.example", Subject: "ana"}, Target: "support", Kind: runs.KindAgent, State: runs.StateFinished}
	if err := d.index.PutRun(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if err := d.index.PutSession(t.Context(), runs.SessionRecord{Tenant: "acme", SessionID: k.Session, Owner: rec.Owner, Target: "support"}); err != nil {
		t.Fatal(err)
	}

	_, status, err := d.Status(t.Context(), "acme", rec.RunID)

	if err != nil || status.State() != runs.StateFinished || status.Last != uint64(len(events)) || status.Output == "" {
		t.Errorf("the run reads as %+v, %v", status, err)
	}
	if got, err := collect(d.Watch(t.Context(), "acme", rec.RunID, 0)); err != nil || cmp.Diff(events, got) != "" {
		t.Errorf("watched events differ (%v): %s", err, cmp.Diff(events, got))
	}
	if got, err := collect(d.start(t, ana(t), k.Session).Events(t.Context())); err != nil || end(t, got).StopReason != agents.StopCompleted {
		t.Errorf("the session does not go on: %v", err)
	}
}

// writeHistory stores today's form of a run with a tool call, a refusal, an
// approval and an input.
func writeHistory(t *testing.T) {
	t.Helper()
	const file = "testdata/history/0001-tools-approval-input.binpb"
	if _, err := os.Stat(file); err == nil {
		return
	}
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, runs.NewMemory(), historian, func(c *runs.Config) { c.Random = bytes.NewReader(make([]byte, 1024)) })
		run := d.start(t, ana(t), "", func(s *runs.Spec) {
			s.Labels, s.RequestID, s.RequestDigest = map[string]string{"ticket": "7"}, "r1", "d1"
			s.Input, s.Parts = "", []agents.Part{{Text: "refund"}, {JSON: `{"order":7}`}, {URI: "https://example.com/a.png"}}
		})
		collect(run.Events(t.Context()))
		var out bytes.Buffer
		for _, e := range d.stored(t, run) {
			if _, err := protodelim.MarshalTo(&out, wire.Encode(&e)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// historian uses every kind of stored event.
var historian = scriptOf(
	agents.TurnStarted{Turn: 1}, agents.MemoryRecalled{Items: []string{"likes blue"}},
	agents.Message{Role: agents.RoleAssistant, Text: "let me look", Thought: "hm", Calls: []agents.CallRequest{{ID: "c1", Tool: "refund", Arguments: `{"order":7}`}}, Usage: agents.Usage{PromptTokens: 10, CompletionTokens: 4, ModelCalls: 1}},
	agents.ToolCallRequested{Tool: "refund", Arguments: `{"order":7}`, ModelCallID: "c1"},
	agents.ToolCallDecided{Decision: agents.Waiting, Reason: "APPROVAL_REQUIRED", PolicyIDs: []string{"p1"}, Duties: []string{`approve("Role::\"manager\"")`}},
	agents.ApprovalRequested{ApprovalID: "apr_1", Tool: "refund", Digest: "d", Approvers: []string{`Role::"manager"`}},
	agents.ApprovalDecided{ApprovalID: "apr_1", Approved: true, Approver: agents.Speaker{Tenant: "acme", Subject: "ben", Name: "Ben"}, Comment: "ok"},
	agents.ToolCallDecided{Decision: agents.Allowed, PolicyIDs: []string{"p1", "p2"}},
	agents.ToolCallFinished{Result: `{"ok":true}`, Duration: 1_500_000},
	agents.ToolCallDecided{Decision: agents.Denied, Reason: "POLICY_DENIED"},
	agents.ToolCallFinished{Failed: true, Result: `{"reason":"POLICY_DENIED"}`, Reason: "POLICY_DENIED"},
	agents.SpeakerSelected{Speakers: []string{"billing"}, Reason: "order"}, agents.PlanUpdated{Plan: "refund, then say so"},
	agents.HandedOff{To: "billing", Scopes: &[]string{"orders.refund"}, ModelCallID: "c2"},
	agents.InputRequested{InputRequestID: "inp_1", Prompt: "which account", From: "billing"},
	agents.InputReceived{InputRequestID: "inp_1", Text: "the blue one", Speaker: agents.Speaker{Tenant: "acme", Subject: "ana", Name: "Ana"}},
	agents.CredentialRequired{},
	agents.Message{Role: agents.RoleAssistant, Text: "done", Structured: `{"done":true}`, Incomplete: true},
	agents.RunFinished{StopReason: agents.StopCompleted, Output: "done", Structured: `{"done":true}`, Usage: agents.Usage{PromptTokens: 10, CompletionTokens: 4, ModelCalls: 1}},
)
