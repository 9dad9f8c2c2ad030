// Command mutants tests the tests: it breaks one guarantee at a time and sees
// that the suite notices.
//
// Each mutant is a few lines of data in a *.yaml file of this folder: which
// guarantee it breaks and where that is written, the old text and the new, and
// the tests that must catch it. The working tree is never touched: the new text is
// laid over the old with `go test -overlay`, that of all mutants at once, and each
// run of the tests is told which of them to be.
//
//	go run ./build/mutants              all of them, some minutes
//	go run ./build/mutants -only NAME   those whose name or file contains NAME, or one of NAME,NAME
//	go run ./build/mutants -area AREA   those of one file of this folder: audit, backends, exchange, gate, identity, policy, reload, rpc, runs, together
//	go run ./build/mutants -list        what there is, without running anything
//	go run ./build/mutants -json        for machines
//
// First the tests must pass as they are. Then they are run as each mutant until
// one fails; that one caught it. What can be wrong:
//
//   - survived: no test failed. Nothing holds that guarantee; write the test.
//   - does not apply: the old text is not there exactly once, or a test that
//     should catch the mutant is gone. The code has moved on and the mutant has to
//     follow. The ordinary tests find this too.
//   - does not compile: a mistake in the new text, and no catch.
//
// Any of these ends the program with an error.
//
// It is not a search for mutants. These are chosen by hand, one for each promise of
// the security model, because a promise is what a reader relies on; operators that
// swap signs at random mostly break what nobody promised.
package main
