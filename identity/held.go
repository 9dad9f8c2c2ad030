package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// This file is a person's own token as far as it is held at all: in memory, by the
// credential that was made of it. It is asked for by token exchange alone (RFC 8693),
// whose subject token it is.

// Token is the access token that the person came with; zero where it is not held: the
// credential came out of a store, or nobody exchanges tokens here. Do not log, store
// or send it anywhere but to who exchanges it.
func (u *User) Token() Secret { return u.token }

// bearing is the user with the token that they were read from.
func (u User) bearing(token Secret) User {
	u.token = token
	return u
}

// Bearing gives a grant that came out of a store the token back which its credential
// was made of. Another one changes nothing: it may be newer than what was kept, and
// then it allows something else.
func (g Grant) Bearing(token Secret) Grant {
	u := g.principal.User
	if u == nil || token.IsZero() || !names(u.Thumbprint, token) {
		return g
	}
	with := u.clone().bearing(token)
	g.principal.User = &with
	return g
}

// names reports whether a thumbprint is the token's.
func names(thumbprint string, token Secret) bool {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return subtle.ConstantTimeCompare([]byte(thumbprint), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 1
}
