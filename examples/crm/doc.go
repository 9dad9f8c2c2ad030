// Package crm is an example of a backend: a small gRPC service of customers, orders
// and invoices, as a team has it that offers it to agents. It verifies the token of
// each call and knows which person asks, and through which agent.
//
// It is not a part of behalf: it imports only what any backend would, package
// calltoken for the tokens and package identity for its own SVID. All that makes it a
// backend of behalf is in [NewServer].
//
//	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: "https://behalf.example", Audience: "crm"})
//	s, err := crm.NewServer(crm.Config{Source: svid, Tenant: "acme", Client: "spiffe://corp.example/behalf", Verifier: v})
//	err = s.Serve(listener)
//
// The customers are alice and bob. Data lives in memory, and belongs to the server.
// Everything may be used by many goroutines.
//
// examples/crm/cmd runs it. [Descriptors] has the methods with their comments, for a
// tool source that knows more than reflection does.
package crm
