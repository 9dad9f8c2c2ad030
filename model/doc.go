// Package model holds the language models behind agents.Model.
//
// It is not an agent, knows no tool and decides nothing: it turns one
// agents.Prompt into a stream of agents.Chunk and makes sure that what looks
// like an answer is one. Nothing outside this package knows the vendor.
//
//   - OpenAI speaks the chat completion protocol to any compatible server. It
//     bounds the stream (bytes, line, deltas, silence, wall time), retries what
//     failed before the first byte, and treats a cut stream as an error.
//   - Demo answers from a file of rules, offline: a pure function of the prompt.
//   - Fallback asks the next model when one is not available.
//
// For example:
//
//	m, err := model.NewOpenAI(model.OpenAIConfig{
//		BaseURL: "https://api.openai.com/v1",
//		APIKey:  model.NewSecret(key),
//		Model:   "gpt-4o-mini",
//	})
//	for chunk, err := range m.Generate(ctx, prompt) { … }
//
// Contract. Generate is lazy, may be called by many goroutines, and every
// stream ends with a chunk that carries Done or with one error, never both. A
// chunk carries Text or Thought, not both, and holds what had already arrived:
// deltas that are complete in the read buffer are joined (never waited for)
// unless NoCoalesce is set. The consumer's pace is the model's: nothing is read
// while the loop body runs. A broken loop cuts the connection before Generate
// returns. No goroutine outlives it.
//
// Errors are faults with the reason MODEL_UNAVAILABLE, except the caller's own
// cancellation or deadline and inputs that no model can take
// (ARGUMENT_INVALID). Neither their message nor their cause ever holds a key,
// a prompt or a byte of a response's body: what a provider says in an error is
// reduced to its status and to a word from a closed list.
package model
