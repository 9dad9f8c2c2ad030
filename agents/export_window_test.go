package agents

// See is what a window shows.
func See(w Window, messages []PromptMessage) []PromptMessage { return see(w, messages) }
