// Command bench measures behalf beside a floor, in one run on one machine: one
// row for each target of the project, and whether it is met.
//
// The floor is the least that could do the job: a grpc-go server over mutual
// TLS that relays go-openai's stream, one message per chunk, with the tool loop
// by hand and no governance at all: no identity, no policy, no audit, no
// durable log. behalf does all of that with the same model, the same client and
// the same wire messages.
//
// Each server runs in its own process, so the figure that counts, CPU per run,
// is read from the operating system and contains neither the client nor the
// model. The scripted model is a third process. Read the ratios: absolute
// numbers are those of the machine. Rounds on the floor and on behalf take
// turns, so that what else the machine does falls on both, and each figure is
// the median of five.
//
// What the figures are:
//
//	CPU/1,000 runs     processor time of the server's process
//	allocations a run  objects that it put on the heap
//	first chunk p50    from the request to the first text, at the client
//	memory per stream  resident set at its peak in the round, less that after
//	                   it, per caller; with few callers mostly garbage
//	chunk delay        from the model's write to the client's read of the same
//	                   chunk: the text of a paced stream is the time of its
//	                   writing, and all processes have one clock
//	open streams       streams that have had their first chunk and wait for the
//	                   next, in a server of its own for each round
//
// A lock is measured in a server of its own with 1,000 open streams, each of a model
// that says nothing more: from the answer of the lock, and from its request, to the
// status at the client.
//
// Group chats have no floor: many at once stand beside a few, and long ones beside
// short ones. Their model is in the server's process and answers at once. What a
// chat holds is measured while it stands still, in a server of its own, and
// includes its log, which is in memory.
//
// The last rows are of parts alone, without a server: benchmarks of their
// packages, which it runs with `go test -bench`. Where such a row compares, the
// figure in the floor's column is named in the row.
//
//	go run ./bench              all rows, about ten minutes
//	go run ./bench -quick       one short round of each
//	go run ./bench -only NAME   the rows whose name contains NAME; parts: those without a server
//	go run ./bench -json        for machines
//
// It needs Linux, whose /proc it reads, and 11,200 open files in a process for
// the row with 10,000 streams; with fewer, or too little memory, a row says at
// how many it measured. It is not a test: it fails only when something does
// not work, and a target that is missed is an answer.
package main
