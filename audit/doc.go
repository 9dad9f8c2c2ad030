// Package audit is what happened: the record of every decision and every
// effect, and the proof that nothing in it was changed afterwards.
//
// It is pure. It opens no database and starts no goroutine; package store makes
// records durable behind the Sink declared here. It is also not the place that
// decides: the Guard fills a Record and waits for its Receipt.
//
// In the order a reader needs them: Record and Entry (what is appended), Sink
// and Receipt (where, and when it is durable), Canonical and Parse (the exact
// bytes), Seal (the chain), Checkpoint, Witness and the key functions (the
// signatures over the chain), Verify (the proof), Export, and Memory, the sink
// for tests.
//
//	var head audit.Head
//	body := audit.Seal(head, &rec) // rec.Sequence == 1, rec.Hash == SHA-256 of body
//	head = rec.Head()
//
// # Contract
//
// Every tenant has a chain of its own, gapless from 1. A record's bytes are RFC
// 8785 JSON of all fields but the hash, and the hash is SHA-256 over them; each
// record holds the hash of the one before. A checkpoint signs heads of chains,
// holds the hash of the checkpoint before, and is written to the store and to a
// witness outside of it. So a change of any byte shows in the row itself, a
// change of a whole tail shows at the next checkpoint, and a store that was cut
// shows in the witness.
//
// A Record belongs to the sink from Append until its receipt is settled: the
// sink writes Sequence, PreviousHash and Hash (and the denial, if a reservation
// does not fit) into it, and replaces bytes that are not UTF-8.
package audit
