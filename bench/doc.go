// Command bench measures behalf beside a floor, in one run on one machine.
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
// numbers are those of the machine.
//
// The last rows are of parts alone, without a server: benchmarks of their
// packages, which it runs with `go test -bench`.
//
//	go run ./bench            all rows, a few minutes
//	go run ./bench -quick     one short round of each
//	go run ./bench -json      for machines
//
// It is not a test: it fails only when something does not work.
package main
