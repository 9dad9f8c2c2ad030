package agents

import "encoding/json"

// earlier is an older message inside a message.
type earlier struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Earlier packs an older message into a part of one of KindHandoff without
// HandoffTo. A model is shown it as a message of its own, before the others.
func Earlier(name, text string) Part {
	return Part{JSON: encoded(earlier{name, text})}
}

// unpack finds older messages. Other parts stay what they are.
func unpack(parts []Part) (old []PromptMessage, rest []Part) {
	for _, p := range parts {
		var m earlier
		if p.JSON == "" || json.Unmarshal([]byte(p.JSON), &m) != nil || m.Name == "" {
			rest = append(rest, p)
			continue
		}
		old = append(old, spoken(PromptMessage{Role: RoleUser, Name: m.Name, Text: m.Text})...)
	}
	return old, rest
}
