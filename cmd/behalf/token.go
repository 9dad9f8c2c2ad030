package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/identity"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
)

// person is one entry of people.yaml.
type person struct {
	Subject string   `yaml:"subject"`
	Name    string   `yaml:"name"`
	Email   string   `yaml:"email"`
	Roles   []string `yaml:"roles"`
	Scopes  []string `yaml:"scopes"`
}

type people struct {
	People []person `yaml:"people"`
}

func parsePeople(data []byte) (people, error) {
	var p people
	if err := yaml.Load(data, &p, yaml.WithKnownFields()); err != nil {
		return p, fmt.Errorf("people.yaml: %w; each entry has subject, name, email, roles and scopes", err)
	}
	return p, nil
}

func (p people) find(subject string) (person, error) {
	i := slices.IndexFunc(p.People, func(q person) bool { return q.Subject == subject })
	if i < 0 {
		return person{}, wrongInput(fmt.Errorf("nobody here is called %q; there are %s", subject, strings.Join(p.names(), ", ")))
	}
	return p.People[i], nil
}

func (p people) names() []string {
	var out []string
	for _, q := range p.People {
		out = append(out, q.Subject)
	}
	return out
}

// withRoles is who there is, for a banner.
func (p people) withRoles() string {
	var out []string
	for _, q := range p.People {
		out = append(out, fmt.Sprintf("%s (%s)", q.Subject, strings.Join(q.Roles, ", ")))
	}
	return strings.Join(out, ", ")
}

// staff are all but customers.
func (p people) staff() (all []string) {
	for _, q := range p.People {
		if !slices.Contains(q.Roles, "customer") {
			all = append(all, q.Subject)
		}
	}
	return all
}

// auditor is who most likely may read the audit log: of those with its scope the
// one with the least beside it. Empty: nobody has it.
func (p people) auditor() string {
	var best *person
	for i, q := range p.People {
		if slices.Contains(q.Scopes, "audit.read") && (best == nil || len(q.Scopes) < len(best.Scopes)) {
			best = &p.People[i]
		}
	}
	if best == nil {
		return ""
	}
	return best.Subject
}

// tokenFor signs an access token for a person (RFC 9068).
func tokenFor(issuer *identity.DevIssuer, audience string, p person) (string, error) {
	t, err := issuer.Mint(map[string]any{
		"sub": p.Subject, "aud": audience, "name": p.Name, "email": p.Email, "email_verified": true,
		"roles": p.Roles, "scope": strings.Join(p.Scopes, " "), "client_id": "behalf-cli",
	})
	if err != nil {
		return "", err
	}
	return t.Reveal(), nil
}

func tokenCommand() *cobra.Command {
	dir := ".behalf"
	c := &cobra.Command{
		Use:     "token PERSON",
		Short:   "Print an access token of the dev issuer for one of its people",
		Long:    "Prints an access token of the dev issuer, which exists only beside `behalf dev`. It is valid for an hour.",
		Example: "  TOKEN=$(behalf token alice)",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f := clientFlags{dir: dir}
			p, err := f.profile()
			if err != nil {
				return err
			}
			token, err := mint(dir, p, args[0])
			if err == nil {
				fmt.Fprintln(c.OutOrStdout(), token)
			}
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "folder that dev wrote its credentials to")
	return c
}

const issuerKeyName = "issuer.key"

// mint signs with the key that `behalf dev` left in dir.
func mint(dir string, p profile, subject string) (string, error) {
	if p.Issuer == "" {
		return "", wrongInput(errors.New("this server has no dev issuer; get a token from your identity provider and give it with --token"))
	}
	data, err := os.ReadFile(p.People)
	if err != nil {
		return "", wrongInput(err)
	}
	all, err := parsePeople(data)
	if err != nil {
		return "", wrongInput(err)
	}
	who, err := all.find(subject)
	if err != nil {
		return "", err
	}
	key := filepath.Join(dir, issuerKeyName)
	if _, err := os.Stat(key); err != nil {
		return "", wrongInput(fmt.Errorf("the dev issuer's key is gone; start `%s dev%s` again", self(), inDir(dir)))
	}
	issuer, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: p.Issuer, KeyFile: key})
	if err != nil {
		return "", err
	}
	return tokenFor(issuer, p.Audience, who)
}

// trustDomain is the first part of a SPIFFE ID.
func trustDomain(id string) (string, error) {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	domain, _, _ := strings.Cut(rest, "/")
	if !ok || domain == "" {
		return "", wrongInput(fmt.Errorf("%q is not a SPIFFE ID (spiffe://trust-domain/path)", id))
	}
	return domain, nil
}
