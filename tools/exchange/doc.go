// Package exchange has somebody else issue the token that a call to a backend carries:
// an authorization server that the backend trusts, asked by OAuth 2.0 token exchange
// (RFC 8693) with the person's own access token. It is for backends that know that
// server and not us.
//
// It is not a way to hand the person's token on, and none to keep it: the token goes to
// the configured server and nowhere else, and what the backend gets is another one, for
// it alone. A toolset has either this or our own call tokens, never both: a backend that
// was given two could believe the weaker one.
//
// The main types, in order:
//
//   - Config says which server, for which backend, how we prove who we are, and what
//     its answer must be.
//   - Exchange is tools.Issuing for one toolset.
//
// Example:
//
//	x, err := exchange.New(exchange.Config{
//		TokenURL: "https://idp.example/token", Audience: "crm",
//		Client: exchange.Client{ID: "behalf", Key: key}, Act: exchange.Refuse, Name: ownID,
//	})
//	token, err := x.For(ctx, backend, sent) // in a call that the gate allowed
//
// Contract. An Exchange may be used by many goroutines and owns none that outlives its
// timeout. What is asked for is what the call may do, never more. What comes back is
// used if it is for this person, this backend, no more scopes, no longer than the cap
// and no other connection than it is bound to; else the call fails, and so it does when
// there is no answer: there is no second way. The error is a fault, CREDENTIAL_REQUIRED
// where the person's token is not here and TOOL_UNAVAILABLE otherwise; neither it nor
// its cause has a token or a word of the server in it.
//
// A token is kept in memory for at most five minutes, for calls that differ in nothing
// that the server was told or the backend could see. Purge drops all, and what is being
// asked for is then not kept either.
//
// Of others: golang.org/x/oauth2 writes the request and reads the answer, of which a
// transport of ours leaves only JSON of bounded size from the one address; x/sync makes
// one question of many. The exchange of the MCP SDK (oauthex) is for ID-JAG alone: it
// demands URLs as audience and resource, and a shared secret. What a JWT is stays in
// identity, where go-jose is.
package exchange
