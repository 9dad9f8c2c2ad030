// Package crm is an example of a tool's backend: a small gRPC server with customers,
// orders and invoices, as another team would run it. It verifies the token of each
// call and knows which person asks, and through which agents.
//
// It is not a part of behalf: of behalf it imports package calltoken, and nothing
// else. All that makes it a backend of behalf is in [NewServer].
//
//	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: "https://behalf.example", Audience: "crm", Clients: []string{"spiffe://corp.example/behalf"}})
//	s, err := crm.NewServer(crm.Config{TLS: mutual, Tenant: "acme", Verifier: v, Staff: []string{"alice"}})
//	err = s.Serve(listener)
//
// A customer asks about themselves, staff about any. Data lives in memory, and
// belongs to the server. Everything may be used by many goroutines.
//
// examples/crm/cmd runs it; `behalf demo` and `behalf dev` have one beside them.
// Their descriptor set, with the comments of the methods, is examples/supportdesk/crm.binpb.
package crm
