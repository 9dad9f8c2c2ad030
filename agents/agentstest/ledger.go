package agentstest

import "encoding/json"

// ReplyFile is a model's reply in a dialog. Ledger stands for an orchestrator's
// ledger: satisfied, progress, loop, next, instruction, and the reason of all.
type ReplyFile struct {
	Reply
	Ledger []any
	Omit   string // a key that the ledger lacks
	Fence  bool   // it is between fences
}

// Written is the reply with its ledger as text.
func (f *ReplyFile) Written() Reply {
	r := f.Reply
	if f.Ledger == nil {
		return r
	}
	entries := map[string]any{}
	for i, key := range []string{"is_request_satisfied", "is_progress_being_made", "is_in_loop", "next_speaker", "instruction_or_question"} {
		if key != f.Omit {
			entries[key] = map[string]any{"answer": f.Ledger[i], "reason": f.Ledger[5]}
		}
	}
	text, err := json.Marshal(entries)
	if err != nil {
		panic(err) // it came out of JSON
	}
	if r.Text = string(text); f.Fence {
		r.Text = "Here it is:\n```json\n" + r.Text + "\n```\n"
	}
	return r
}
