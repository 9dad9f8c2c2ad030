package agents_test

import (
	"flag"
	"testing"

	"github.com/behalf-dev/behalf/agents/agentstest"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dialogs() agentstest.Dialogs {
	return agentstest.Dialogs{Files: "testdata/*.txtar", Update: *update}
}

func TestDialogsGoAsWritten(t *testing.T) { dialogs().GoAsWritten(t) }

func TestResumeFromEveryPrefixGivesTheSameRest(t *testing.T) { dialogs().Resume(t) }

func TestBreakAtEveryEventLeavesNothingBehind(t *testing.T) { dialogs().Break(t) }

// TestUsageOfAllThreadsIsWhatTheRunUsed holds what doc.go says of usage, for agents
// whose models are asked beside the conversation.
func TestUsageOfAllThreadsIsWhatTheRunUsed(t *testing.T) {
	coders := agentstest.Dialogs{Files: "testdata/code*.txtar"}
	coders.UsageAddsUp(t)
}
