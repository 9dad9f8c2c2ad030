// Package calltoken is the token that every call to a tool's backend carries: for
// whom the call is made, through which agents, what exactly is called, and that
// policy allowed it.
//
// It has two sides. [Keys] mints tokens and publishes what verifies them; that is
// behalf's side, where an operator lists, renews and revokes keys. [Verifier] is the
// backend's: with [Verifier.ServerOptions] a gRPC server, and with
// [Verifier.Middleware] an HTTP server, refuses every call that is not exactly the one
// that was decided, and its handlers know who asks:
//
//	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: "https://behalf.example", Audience: "crm", Clients: []string{"spiffe://corp.example/behalf"}})
//	go v.Run(ctx)
//	s := grpc.NewServer(append(v.ServerOptions(tools), grpc.Creds(mtls))...)
//	…
//	claims, ok := calltoken.FromContext(ctx) // in a handler: claims.Subject, claims.Agents()
//
// It is not the credential by which people call behalf (package identity), and it
// grants nothing by itself: a backend still decides whose record this is.
//
// # The rules of a backend (SECURITY E.5)
//
// In this order, as docs/backends.md has them: one `authorization`; signature,
// algorithm and `typ`; `iss`, the required claims and `aud`; times, `exp` being after
// `iat` and by 60 s at most; `client_id`; `cnf` against the client certificate of this
// very connection; `tool` and `args_s256` against what was received, before it is parsed;
// unknown obligations refuse; `jti` unused. Then, in the handler: subject and tenant
// against the owner of the record, and the scope.
// testdata/vectors.json has tokens and the verdict on each, for other languages.
//
// # Contract
//
// All types may be used by many goroutines. What does not verify is refused with
// one public text; the cause is for the log and never holds the token. [Keys.Run]
// and [Verifier.Run] block until their context ends.
package calltoken
