// Command cmd serves the example MCP server of package handbook beside `behalf dev`,
// whose authority made its certificate:
//
//	behalf dev --backends=false
//	go run ./examples/handbook/cmd
//
// It links nothing of behalf but the verifier. It logs for whom each call is made and
// through which agents, and why it refused one.
package main
