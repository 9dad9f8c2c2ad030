// Command cmd serves the example backend of package crm beside `behalf dev`, whose
// authority made its certificate:
//
//	behalf dev --backends=false
//	go run ./examples/crm/cmd
//
// It links nothing of behalf but the verifier, and is what a backend of another team
// would be. It logs for whom each call is made and through which agents, and why it
// refused one. It is not for production: its customers live in memory.
package main
