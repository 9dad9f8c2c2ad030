// Package supportdesk is the example that demo, dev and the tests share: three
// agents (triage, support, billing), two customers, three orders, policies with
// their tests, and four people.
//
// It is the smallest desk that shows what the product is for: two people ask
// the same thing of the same agents and get what each of them may have. It is
// also how to write a tool: a Go function with a typed argument struct.
//
// Tools makes the desk's typed functions; Files holds everything else, so that
// the program runs it from a single binary. State lives in memory and belongs
// to the value that Tools was called for.
package supportdesk
