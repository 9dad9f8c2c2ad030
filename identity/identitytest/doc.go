// Package identitytest has the fakes that tests of identity and of what stands
// on it share: an authority and sources whose SVIDs rotate on demand, an issuer
// behind a real HTTP server, a signer that forges tokens byte by byte, a
// Workload API server and a clock.
//
// It is not a second implementation: sources and issuers are the development
// ones of package identity, and verification is always the real one.
//
//	ca := identitytest.NewCA(t)
//	src := identitytest.NewSource(t, ca, "/behalf")
//	issuer := identitytest.NewIssuer(t)
//	md := identitytest.Metadata(issuer.Token(t, map[string]any{"sub": "ann", "aud": "behalf"}))
//
// Everything may be used by several goroutines. What starts something stops it
// in t.Cleanup.
package identitytest
