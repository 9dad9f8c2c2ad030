// Package handbook is an example of an MCP server as a tool's backend: the articles
// of a support desk, to search and to read, over streamable HTTP. It verifies the
// token of each call and knows which person asks, and through which agents.
//
// It is not a part of behalf: of behalf it imports package calltoken, and nothing
// else. A call without a token, or with one that is for another tool, is refused. The
// list of the tools is in nobody's name, and comes without a token.
//
//	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: "https://behalf.example", Audience: "handbook", Clients: []string{"spiffe://corp.example/behalf"}})
//	h, err := handbook.New(handbook.Config{Verifier: v, Tenant: "acme"})
//	err = (&http.Server{Handler: h, TLSConfig: mutual}).ServeTLS(listener, "", "")
//
// It holds no session: each request is answered by itself. It may be used by many
// goroutines.
//
// examples/handbook/cmd runs it; `behalf dev` has one beside it.
package handbook
