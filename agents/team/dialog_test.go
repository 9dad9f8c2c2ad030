package team_test

import (
	"flag"
	"testing"

	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dialogs(names string) agentstest.Dialogs {
	return agentstest.Dialogs{Files: "testdata/" + names + ".txtar", Update: *update}
}

// waves are dialogs in which several speak at the same time.
func waves() agentstest.Dialogs {
	d := dialogs("waves/*")
	d.Parallel, d.Waves = true, team.NewWaves
	return d
}

func TestDialogsGoAsWritten(t *testing.T) { dialogs("*").GoAsWritten(t) }

func TestResumeFromEveryPrefixGivesTheSameRest(t *testing.T) { dialogs("*").Resume(t) }

func TestBreakAtEveryEventLeavesNothingBehind(t *testing.T) {
	dialogs("*").Break(t)
	waves().Break(t)
}

func TestWaveDialogsGoAsWritten(t *testing.T) { waves().GoAsWritten(t) }

func TestWavesResumeFromEveryPrefix(t *testing.T) { waves().Resume(t) }

// TestUsageOfAllThreadsIsWhatTheRunUsed holds what package agents says of usage,
// for teams whose own models are asked too.
func TestUsageOfAllThreadsIsWhatTheRunUsed(t *testing.T) {
	dialogs("graph*").UsageAddsUp(t)
	dialogs("magentic*").UsageAddsUp(t)
}
