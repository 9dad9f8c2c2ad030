// Package store makes durable what other packages declare: the audit log with
// its chains, checkpoints and reservations, the records of grants, the index of
// runs and sessions, and what is remembered of people. It is an adapter and
// decides nothing; what a record means is in package audit, what a run is in
// package runs, whose a memory is in package memory.
//
// Store is the whole, Reader the part of it that only reads (also a file that a
// server has open, or had). Today the engine is SQLite, named by a DSN such as
// sqlite://.behalf/behalf.db.
//
//	s, err := store.Open(ctx, store.Config{DSN: "sqlite://behalf.db", Key: key, Witness: witness})
//	go s.Run(ctx) // in the root's errgroup
//	err = s.Append(audit.Entry{Record: rec}).Wait(ctx)
//
// # One writer
//
// Everything that writes is a closure for the one writer, Run. It takes what is
// queued, runs it in one transaction, commits once, and then settles all of it:
// 64 callers share one sync of the disk. Entries become durable in the order of
// Append. A closure that fails undoes only itself; a commit that fails fails all
// that were in it, so nothing is ever half sealed. Nothing is settled without
// error before the commit returned.
//
// The writer is the only one: a lock keeps other processes out, and it knows
// where the chains end without asking the disk. When somebody wrote all the same
// (the data version changed, a commit failed) it compares, and if the ends are
// not its own the log was forged: nothing is recorded any more, every receipt
// says ErrDamaged, and a last checkpoint, in the store and the witness, sees to
// it that the log does not verify and the next start refuses it.
//
// A commit begins when somebody waits for one. What nobody waits for (the
// outcome of a tool call, the decision that a run begins with, the state of a
// run in the index) shares the next one, or is committed 5 ms later at the
// latest. The state of a run is answered from the queue until it is stored.
//
// Reservations and the record they belong to are in one transaction, so limits
// are exact.
//
// Before Run is started entries wait in the queue; after it returned they fail
// with ErrClosed. A full queue fails with ErrBusy at once. All methods may be
// called by many goroutines; Run by one.
package store
