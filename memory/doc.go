// Package memory is what is remembered of people across their conversations: by
// a person as such, or by a person in one session.
//
// It is not the place where the texts are kept (package store), and not where it
// is decided who may write and erase them: the tools here are governed by the
// gate like all others. What an operator writes into the config is no memory in
// this sense; that is agents.ListMemory.
//
// The main types, in the order in which a text meets them:
//
//   - Tools: remember, list_memories, forget and forget_all, the only way in and
//     the only way to erase, beside deleting a session.
//
//   - Store: what keeps the texts.
//
//   - Recaller: an agents.Memory that gives them to an assistant.
//
// An example:
//
//	list := memory.Tools(store)                                // for the registry
//	cfg.Memory = &memory.Recaller{Store: store, Person: true}  // for an assistant
//
// # Contract
//
// Whose memory it is comes from the grant in the context and from nothing else:
// no argument, no session id and no agent's name leads to another person's. Every
// question to the Store names tenant, issuer and subject. Nothing is cached. In a
// session with several people each has what they remembered themselves, and a
// run is told that of the person whose authority it has.
//
// A full memory is an error that says what to do; nothing is dropped silently.
// Texts are hostile: bounded when they are written, and bounded, on one line
// each, and never among the operator's words when they are told to a model.
//
// All types may be used by many goroutines.
package memory
