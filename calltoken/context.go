package calltoken

import "context"

type claimsKey struct{}

// FromContext gives the claims that the call was verified with. They are shared and
// must not be changed.
func FromContext(ctx context.Context) (*Claims, bool) {
	c, ok := ctx.Value(claimsKey{}).(*Claims)
	return c, ok
}

func withClaims(ctx context.Context, c *Claims) context.Context {
	return context.WithValue(ctx, claimsKey{}, c)
}
