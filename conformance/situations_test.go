package conformance_test

import (
	"context"
	"errors"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
)

// situation is something that goes wrong: by AutoGen's words for it, and how it is
// known here.
type situation struct {
	theirs string
	ours   func(error) bool
}

// situations are all errors of the cases. The first whose words a case has is
// meant.
var situations = []situation{
	{"No more mock responses", because(fault.ModelUnavailable, "the language model is out of order")},
	{"Task list cannot be empty", because(fault.ArgumentInvalid, "")},
	{"ValueError: I am flaky", func(err error) bool { return errors.Is(err, errFlaky) }},
	{"CancelledError", func(err error) bool { return errors.Is(err, context.Canceled) }},
	{"already running", because(fault.SessionBusy, "")},
	{"Selector function returned an invalid speaker name: zed", because(fault.ArgumentInvalid, "selector function returned an invalid speaker name", "zed")},
	{"The existing handoff target user", because(fault.ArgumentInvalid, "not one of the participants", "user")},
	{"The target zed is not one of the participants", because(fault.ArgumentInvalid, "not one of the participants", "zed")},
	{"Failed to parse ledger information", because(fault.ModelUnavailable, "no usable ledger")},
	{"Failed to get user input", func(err error) bool { return errors.Is(err, errNoInput) }},
	{"target does not match agent name", because(fault.ArgumentInvalid, "target does not match the agent's name")},

	{"Handoff names must be unique", says("hand-off names must be unique")},
	{"does not support function calling", says(`assistant "a"`, "does not support function calling")},
	{"greater than 0", says("max_turns", "must be 1 to")},
	{"participant names must be unique", says("participant names must be unique")},
	{"At least one participant", says("at least one participant")},
	{"At least two participants", says("at least two participants")},
	{"must be able to produce a handoff", says("must be able to produce a handoff")},
	{"at least one start node", says("at least one start node")},
	{"at least one leaf node", says("at least one leaf node")},
	{"Cycle detected without exit condition", says("cycle without an exit condition")},
	{"termination condition is required for cyclic graphs", says("termination condition or max turns is required for a cyclic graph")},
	{"Conflicting activation conditions for target 'd' group 'd'", says(`conflicting joins for "d" in the group "d"`)},
}

// because knows an error by its reason, and by words for the operator.
func because(reason fault.Reason, words ...string) func(error) bool {
	return func(err error) bool { return errors.Is(err, reason) && says(words...)(err) }
}

// says knows an error by words: those of the person who configures.
func says(words ...string) func(error) bool {
	return func(err error) bool {
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				return false
			}
		}
		return err != nil
	}
}

// wrong says what is wrong with an error, empty if it is the one that is meant.
func wrong(theirs string, err error) string {
	for _, s := range situations {
		if strings.Contains(theirs, s.theirs) {
			switch {
			case s.ours(err):
				return ""
			case err == nil:
				return "no error, want " + theirs
			}
			return "error " + err.Error() + ", want " + theirs
		}
	}
	return "no situation is known for the error " + theirs
}

// errNoInput is a person who cannot be asked. Ours waits, for days if need be; what
// AutoGen's run gives up with is our caller's decision to cancel.
var errNoInput = errors.New("the person cannot be asked")

// stops are AutoGen's stop reasons that have other words here.
var stops = map[string]string{
	"Digraph execution is complete":      agents.StopCompleted,
	"Maximum number of turns 2 reached.": agents.StopMaxTurns,
	"Maximum number of turns 3 reached.": agents.StopMaxTurns,
	"Maximum number of turns 1 reached.": agents.StopMaxTurns,
}

// wording is where a text of AutoGen is ours in other words: what goes wrong with
// a call's arguments does not begin with the word.
var wording = strings.NewReplacer("Error: *", "*")
