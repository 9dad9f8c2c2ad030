package team

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxQuotedLedger bounds how much of a wrong ledger is shown to its model again.
const maxQuotedLedger = 8 << 10

// ledger is an orchestrator's judgement of the work.
type ledger struct {
	text        string // as the model wrote it, the JSON object alone
	satisfied   bool
	reason      string // of satisfied
	loops       bool
	progress    bool
	speaker     string
	instruction string
}

// readLedger reads a ledger strictly, or says all that is wrong with it, a line
// each. Keys that nobody asked for do no harm. Once
// the request is satisfied nobody speaks next, and a single participant always
// does: then these answers are not looked at.
func readLedger(answer string, names []string) (*ledger, string) {
	r := &ledgerReader{}
	l := &ledger{text: answer}
	if err := json.Unmarshal([]byte(l.text), &r.keys); err != nil || r.keys == nil {
		return nil, "- it is not one JSON object\n"
	}
	l.satisfied, l.reason = r.flag("is_request_satisfied")
	l.loops, _ = r.flag("is_in_loop")
	l.progress, _ = r.flag("is_progress_being_made")
	if l.satisfied {
		return l, r.problems.String()
	}
	if l.instruction = r.text("instruction_or_question"); l.instruction == "" {
		r.wrong("instruction_or_question", "the answer must be a text that is not empty")
	}
	if len(names) == 1 {
		l.speaker = names[0]
	} else if l.speaker = r.text("next_speaker"); !slices.Contains(names, l.speaker) {
		r.wrong("next_speaker", "the answer must be one of "+strings.Join(names, ", "))
	}
	return l, r.problems.String()
}

// stalls counts on: up without progress, else down.
func (l *ledger) stalls(before int) int {
	switch {
	case l.satisfied:
		return before
	case l.loops || !l.progress:
		return before + 1
	}
	return max(before-1, 0)
}

// ledgerReader collects what is wrong with a ledger.
type ledgerReader struct {
	keys     map[string]json.RawMessage
	problems strings.Builder
}

func (r *ledgerReader) wrong(key, problem string) {
	fmt.Fprintf(&r.problems, "- %s: %s\n", key, problem)
}

// flag reads a verdict and its reason.
func (r *ledgerReader) flag(key string) (answer bool, reason string) {
	var entry struct {
		Answer *bool
		Reason *string
	}
	err := json.Unmarshal(r.keys[key], &entry)
	if err != nil || entry.Answer == nil || entry.Reason == nil {
		r.wrong(key, "must be an object with an answer that is true or false, and a reason that is a text")
		return false, ""
	}
	return *entry.Answer, *entry.Reason
}

// text reads an answer in words, empty if there is none. Why is not asked.
func (r *ledgerReader) text(key string) string {
	var entry struct{ Answer string }
	if err := json.Unmarshal(r.keys[key], &entry); err != nil {
		return ""
	}
	return strings.TrimSpace(entry.Answer)
}

// ledgerSchema is a ledger's JSON Schema. Reasons come first, so that a model
// that follows it thinks before it answers.
func ledgerSchema(names []string) []byte {
	list, err := json.Marshal(names)
	if err != nil {
		panic(err) // texts can always be marshalled
	}
	entry := func(key, answer string) string {
		return fmt.Sprintf(`%q:{"type":"object","properties":{"reason":{"type":"string"},"answer":%s},"required":["reason","answer"],"additionalProperties":false}`, key, answer)
	}
	const flag = `{"type":"boolean"}`
	return []byte(`{"type":"object","properties":{` + strings.Join([]string{
		entry("is_request_satisfied", flag),
		entry("is_in_loop", flag),
		entry("is_progress_being_made", flag),
		entry("next_speaker", `{"type":"string","enum":`+string(list)+`}`),
		entry("instruction_or_question", `{"type":"string"}`),
	}, ",") + `},"required":["is_request_satisfied","is_in_loop","is_progress_being_made","next_speaker","instruction_or_question"],"additionalProperties":false}`)
}
