package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/identity"
	jsonv2 "github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
)

const (
	maxToken = 8 << 10 // bytes: it goes into a header
	skew     = 30 * time.Second
)

// header is what can stand in an Authorization header (RFC 6750 2.1).
var header = regexp.MustCompile(`^[A-Za-z0-9\-._~+/]+=*$`)

// accept holds an answer to what was asked (SECURITY E.4.2), and says until when the
// token is good. The errors name what is wrong and repeat nothing.
func (x *Exchange) accept(ctx context.Context, q *question, got *oauth2.Token) (identity.Secret, time.Time, error) {
	no := func(text string) (identity.Secret, time.Time, error) {
		return identity.Secret{}, time.Time{}, errors.New(text)
	}
	kind, _ := got.Extra("issued_token_type").(string)
	switch raw := got.AccessToken; {
	case kind != typeAccess:
		return no("the issued token is not said to be an access token")
	case !strings.EqualFold(got.TokenType, "Bearer"):
		return no("the token's type is not Bearer")
	case len(raw) > maxToken || !header.MatchString(raw):
		return no("the token cannot stand in a header")
	case raw == q.user.Token().Reveal():
		return no("the issued token is the person's own")
	}
	token := identity.NewSecret(got.AccessToken)
	if said, ok := got.Extra("scope").(string); got.Extra("scope") != nil && (!ok || !within(strings.Fields(said), q.scopes)) {
		return no("the token is said to have more scopes than were asked for")
	}
	until, err := x.claimed(ctx, q, token, lifetime(got, x.c.Now()))
	if err != nil {
		return identity.Secret{}, time.Time{}, err
	}
	now := x.c.Now()
	switch {
	case until.IsZero():
		return no("the token has no end")
	case !now.Before(until):
		return no("the token has ended")
	case until.After(now.Add(x.c.Cap)):
		return no("the token lives longer than the cap")
	}
	return token, until, nil
}

// lifetime is the end by expires_in; zero: it is not said. The library's own is by
// another clock.
func lifetime(got *oauth2.Token, now time.Time) time.Time {
	s, ok := got.Extra("expires_in").(float64)
	if !ok || s <= 0 || s > math.MaxInt32 {
		return time.Time{}
	}
	return now.Add(time.Duration(s) * time.Second)
}

// claims are those of an issued token that say anything to us, under their exact names.
type claims struct {
	Issuer       string         `json:"iss"`
	Audience     list           `json:"aud"`
	Scope        list           `json:"scope"`
	Scp          list           `json:"scp"`
	Expires      float64        `json:"exp"`
	NotBefore    float64        `json:"nbf"`
	Actor        *actor         `json:"act"`
	Confirmation map[string]any `json:"cnf"`

	all map[string]any
}

// actor is the outermost one: inner ones are information (RFC 8693 4.1).
type actor struct {
	Subject string `json:"sub"`
}

// list is a string or several; scopes in one string are split by their user.
type list []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *list) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*l = list{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}

func (l list) words() []string { return strings.Fields(strings.Join(l, " ")) }

// claimed holds what the token itself says to what was asked, and gives its end.
func (x *Exchange) claimed(ctx context.Context, q *question, token identity.Secret, said time.Time) (time.Time, error) {
	c, jwt, err := read(token)
	switch {
	case err != nil:
		return time.Time{}, err
	case !jwt && !x.c.Opaque:
		return time.Time{}, errors.New("the token is no JWT, so that nobody here can say whose it is")
	case !jwt && x.c.Bound:
		return time.Time{}, errors.New("the token is no JWT, so that nobody here can say what it is bound to")
	case !jwt:
		return said, nil
	case c.Expires <= 0 || c.Expires > math.MaxUint32:
		return time.Time{}, errors.New("the token has no end")
	case time.Unix(int64(c.Expires), 0).After(x.c.Now().Add(x.c.Cap)): // whatever expires_in says: the backend goes by this one
		return time.Time{}, errors.New("the token lives longer than the cap")
	case c.NotBefore > float64(x.c.Now().Add(skew).Unix()):
		return time.Time{}, errors.New("the token is not valid yet")
	case !within(append(c.Scope.words(), c.Scp.words()...), q.scopes):
		return time.Time{}, errors.New("the token has more scopes than were asked for")
	}
	for _, check := range []func() error{
		func() error { return x.forBackend(c) },
		func() error { return x.samePerson(q, c) },
		func() error { return x.boundTo(q, c) },
		func() error { return x.names(ctx, c) },
	} {
		if err := check(); err != nil {
			return time.Time{}, err
		}
	}
	if until := time.Unix(int64(c.Expires), 0); said.IsZero() || until.Before(said) {
		return until, nil
	}
	return said, nil
}

func read(token identity.Secret) (*claims, bool, error) {
	raw, jwt, err := identity.Unverified(token)
	if err != nil || !jwt {
		return nil, jwt, err
	}
	c := &claims{}
	if jsonv2.Unmarshal(raw, c) != nil || jsonv2.Unmarshal(raw, &c.all) != nil {
		return nil, true, errors.New("the token's claims are of the wrong types")
	}
	return c, true, nil
}

func within(have, asked []string) bool {
	return !slices.ContainsFunc(have, func(s string) bool { return !slices.Contains(asked, s) })
}

// forBackend wants the backend alone: a token for several can be used by one at
// another.
func (x *Exchange) forBackend(c *claims) error {
	for _, aud := range c.Audience {
		if aud == "" || aud != x.c.Audience && aud != x.c.Resource {
			return errors.New("the token is for another audience")
		}
	}
	if len(c.Audience) == 0 {
		return errors.New("the token is for no audience")
	}
	return nil
}

// samePerson compares with the person's own token, which we have verified. A subject
// means something only at its issuer.
func (x *Exchange) samePerson(q *question, c *claims) error {
	issuer := x.c.Issuer
	if issuer == "" {
		issuer = q.user.Issuer
	}
	if c.Issuer != issuer {
		return errors.New("the token is of another issuer")
	}
	want, err := x.person(q.user)
	if err != nil {
		return err
	}
	if got, _ := c.all[x.c.Claim].(string); got == "" || got != want {
		return errors.New("the token is another person's")
	}
	return nil
}

// person is what the issued token must call the person: the subject as their issuer
// writes it, without a prefix of ours.
func (x *Exchange) person(u *identity.User) (string, error) {
	if x.c.Is == ByEmail {
		return u.Email, nil
	}
	own, jwt, err := identity.Unverified(u.Token())
	if err != nil || !jwt {
		return "", errors.New("the person's token cannot be read")
	}
	var c struct {
		Subject string `json:"sub"` // exact: encoding/json would take SUB too
	}
	if err := jsonv2.Unmarshal(own, &c); err != nil {
		return "", errors.New("the person's token has no subject")
	}
	return c.Subject, nil
}

// boundTo refuses a token that the backend would refuse on this connection.
func (x *Exchange) boundTo(q *question, c *claims) error {
	if c.Confirmation == nil {
		if x.c.Bound {
			return errors.New("the token is not bound to a certificate")
		}
		return nil
	}
	if leaf, _ := c.Confirmation["x5t#S256"].(string); len(c.Confirmation) != 1 || leaf == "" || leaf != q.sent.Thumbprint {
		return errors.New("the token is bound to something else than the connection's certificate")
	}
	return nil
}

// names wants us as who acts.
func (x *Exchange) names(ctx context.Context, c *claims) error {
	if c.Actor != nil && c.Actor.Subject != "" && (c.Actor.Subject == x.c.Client.ID || c.Actor.Subject == x.c.Name()) {
		return nil
	}
	if x.c.Act != Warn {
		return errors.New("the token does not name us as who acts")
	}
	x.c.Logger.WarnContext(ctx, "an exchanged token does not name us as who acts", slog.String("toolset", x.c.Toolset))
	return nil
}
