package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/behalf-dev/behalf/identity"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// profile is how a client reaches a server. `behalf dev` writes one; flags
// override it field by field.
type profile struct {
	Addr     string `json:"addr"`
	Cert     string `json:"cert"`
	Key      string `json:"key"`
	Bundle   string `json:"bundle"`
	Server   string `json:"server"` // the server's SPIFFE ID
	Issuer   string `json:"issuer,omitempty"`
	Audience string `json:"audience,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	People   string `json:"people,omitempty"`
	Handbook string `json:"handbook,omitempty"`    // the URL of the handbook that dev runs
	Calls    string `json:"call_issuer,omitempty"` // of call tokens
}

const (
	profileName = "client.json"
	defaultDir  = ".behalf"
)

// clientFlags are the flags of every command that calls a server.
type clientFlags struct {
	dir   string
	as    string
	token string
	json  bool
	over  profile
}

func (f *clientFlags) bind(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "dir", defaultDir, "folder that dev wrote its credentials to")
	c.Flags().StringVar(&f.as, "as", "", "person to act for, with a token of the dev issuer")
	c.Flags().StringVar(&f.token, "token", "", "access token of the person to act for (better: BEHALF_TOKEN, which no list of processes shows)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
	c.Flags().StringVar(&f.over.Addr, "addr", "", "address of the server")
	c.Flags().StringVar(&f.over.Cert, "cert", "", "our X.509-SVID, a PEM file")
	c.Flags().StringVar(&f.over.Key, "key", "", "its private key, a PEM file")
	c.Flags().StringVar(&f.over.Bundle, "bundle", "", "certificate authorities of the server's trust domain, a PEM file")
	c.Flags().StringVar(&f.over.Server, "server", "", "SPIFFE ID of the server")
}

// profile merges what dev wrote with what the flags say.
func (f *clientFlags) profile() (profile, error) {
	var p profile
	b, err := os.ReadFile(filepath.Join(f.dir, profileName))
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &p); err != nil {
			return p, wrongInput(fmt.Errorf("%s is damaged: %w; start `%s dev%s` again", filepath.Join(f.dir, profileName), err, self(), f.where()))
		}
	case !errors.Is(err, os.ErrNotExist):
		return p, wrongInput(err)
	}
	for _, o := range []struct{ flag, field *string }{
		{&f.over.Addr, &p.Addr}, {&f.over.Cert, &p.Cert}, {&f.over.Key, &p.Key}, {&f.over.Bundle, &p.Bundle}, {&f.over.Server, &p.Server},
	} {
		if *o.flag != "" {
			*o.field = *o.flag
		}
	}
	if p.Addr == "" || p.Cert == "" || p.Key == "" || p.Bundle == "" || p.Server == "" {
		return p, wrongInput(fmt.Errorf("do not know how to reach a server: there is no %s\n  next      start `%s dev%s` in this folder, or give --addr, --cert, --key, --bundle and --server", filepath.Join(f.dir, profileName), self(), f.where()))
	}
	return p, nil
}

// dial connects as the workload of the profile and returns a context that
// carries the person's token.
func (f *clientFlags) dial(ctx context.Context) (context.Context, *grpc.ClientConn, error) {
	p, err := f.profile()
	if err != nil {
		return nil, nil, err
	}
	conn, err := connect(p)
	if err != nil {
		return nil, nil, err
	}
	token, err := f.accessToken(p)
	if err != nil {
		return nil, nil, err
	}
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ctx, conn, nil
}

func connect(p profile) (*grpc.ClientConn, error) {
	domain, err := trustDomain(p.Server)
	if err != nil {
		return nil, err
	}
	source, err := identity.NewFiles(identity.FilesConfig{Cert: p.Cert, Key: p.Key, Bundles: map[string]string{domain: p.Bundle}})
	if err != nil {
		return nil, wrongInput(err)
	}
	tls, err := identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{p.Server}})
	if err != nil {
		return nil, wrongInput(err)
	}
	return grpc.NewClient(p.Addr, grpc.WithTransportCredentials(credentials.NewTLS(tls)))
}

func (f *clientFlags) accessToken(p profile) (string, error) {
	switch {
	case f.token != "" && f.as != "":
		return "", wrongInput(errors.New("--as and --token both say for whom; give one"))
	case f.token != "":
		return f.token, nil
	case f.as != "":
		return mint(f.dir, p, f.as)
	}
	return os.Getenv("BEHALF_TOKEN"), nil
}

// again are the flags that the same person needs for the next command; a token is
// not shown.
func (f *clientFlags) again() string {
	if f.as == "" {
		return f.where()
	}
	return " --as " + quoted(f.as) + f.where()
}

// others are the flags that somebody else needs for the next command.
func (f *clientFlags) others() string {
	if f.as == "" {
		return f.where()
	}
	return " --as PERSON" + f.where()
}

func (f *clientFlags) where() string {
	text := ""
	if f.dir != defaultDir {
		text += " --dir " + quoted(f.dir)
	}
	return text
}
