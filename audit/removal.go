package audit

import (
	"encoding/json"
	"fmt"
)

// ActionRemove is the action of a row by which the log removes the oldest rows of
// its chain. Only the log itself writes such rows: no Entry may have one.
const ActionRemove = "remove_old_rows"

// Removal says that the oldest rows of a chain were removed, and what their end
// was. The row that says so is signed with the commit that it is in; the first row
// goes only after that. So rows that are gone without it were taken by somebody.
type Removal struct {
	Through    int64  `json:"through"`    // the newest row to go; none before it stays for long
	Hash       string `json:"hash"`       // of that row
	Checkpoint int64  `json:"checkpoint"` // that signed that row
}

// Record is the row in the chain of tenant.
func (m Removal) Record(tenant string, now int64) *Record {
	return &Record{
		Time: now, Tenant: tenant, Phase: Decision, Action: ActionRemove,
		Resource: fmt.Sprintf("Tenant::%q", tenant), Decision: Allow, RedactedArguments: m.arguments(), Governed: true,
	}
}

func (m Removal) arguments() string {
	text, _ := json.Marshal(m) // numbers and a text: it cannot fail
	return string(text)
}

// RemovalOf reads a removal from its row; false for any other row.
func RemovalOf(r *Record) (m Removal, ok bool) {
	if r.Action != ActionRemove || json.Unmarshal([]byte(r.RedactedArguments), &m) != nil {
		return Removal{}, false
	}
	return m, m.arguments() == r.RedactedArguments && m.Through < r.Sequence
}
