// Command cmd serves the example backend of package crm:
//
//	go run ./examples/crm/cmd -dir .behalf/ca -issuer https://behalf.example -jwks http://127.0.0.1:8080/.well-known/jwks.json
//
// It is not for production: its SVID comes from a development CA, and its customers
// live in memory. It logs for whom each call is made, and through which agent.
package main
