// Package identity answers one question: who is calling. It builds a Principal
// from what can be verified, the X.509-SVID of the connection and the token in the
// metadata (a person's access token, or a workload's JWT-SVID), and from nothing
// else.
//
// It is not authorization: which RPC needs a person, what a scope permits and
// what policy says is decided elsewhere. It knows no method names, keeps no
// sessions and never stores a token: where tokens are exchanged a person's own is held
// in memory by the credential that was made of it ([User.Token]). Other packages see no
// go-spiffe and no go-jose type; both stay in here.
//
// The main types, in the order of a request:
//
//   - Source gives our own SVID and the authorities of trust domains. There are
//     three: WorkloadAPI (a SPIRE socket), Files (PEM, reloaded) and DevCA.
//   - Peers verifies the process at the other end: ServerTLS at the handshake,
//     Workload again at each call, Bearer by a JWT-SVID. Trusts says for how long,
//     Watch when that changes.
//   - Verifier turns an access token into a User; it owns the issuers' key sets.
//   - Identifier puts both together and checks that they agree.
//   - Principal, Grant and Scopes are the values that leave this package.
//   - ClientKey and Actor prove to an authorization server who we are.
//   - DevIssuer mints tokens for the demo and for tests.
//
// Example:
//
//	peers, err := identity.NewPeers(identity.PeersConfig{Source: src, Tenants: tenants, Grants: grants})
//	verifier, err := identity.NewVerifier(identity.VerifierConfig{Issuers: issuers})
//	who, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: peers, Verifier: verifier})
//	creds := credentials.NewTLS(peers.ServerTLS(identity.CertificateRequired))
//	principal, err := who.Identify(ctx, &tlsState, md)
//
// Contract. Everything is safe for use by many goroutines. Constructors start
// nothing; what must be kept fresh (a Source, a Verifier) has Run, which blocks
// and returns nil when its context ends. What does not verify is a fault:
// CREDENTIAL_REQUIRED, CREDENTIAL_INVALID (one public text for every cause),
// CREDENTIAL_EXPIRED, KEYSET_UNAVAILABLE, CARRIER_NOT_ALLOWED, TENANT_MISMATCH
// or, for a workload without a grant, POLICY_DENIED. The cause is in Err, for
// the log only, and never contains the token or a claim's value.
//
// Left out on purpose, and refused when met: DPoP (`cnf.jkt`), tokens without
// `kid`, JWE, symmetric keys, JWT-SVIDs as a person's credential or beside one, HTTP proxies
// on the way to an issuer's keys.
package identity
