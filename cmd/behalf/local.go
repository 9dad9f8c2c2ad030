package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/behalf-dev/behalf/examples/teams"
	"github.com/behalf-dev/behalf/identity"
)

// local is everything that demo and dev bring along and a production server
// gets from elsewhere: a certificate authority, a token issuer and its people.
type local struct {
	dir       string
	cfg       *config.Config
	ca        *identity.DevCA
	issuer    *identity.DevIssuer
	people    people
	client    profile
	log       *slog.Logger
	model     string        // what answers, for a banner
	online    *config.Model // instead of the offline rules; nil: those
	pace      time.Duration // between the words of the offline model
	beside    backends      // behind its tools
	elsewhere bool          // somebody else runs those
}

// pace is slow enough to see words come and fast enough not to wait for them.
const pace = 30 * time.Millisecond

// Names of the local world.
const (
	localDomain   = "dev.behalf"
	localTenant   = "acme"
	localAudience = "behalf"
	localIssuer   = "https://issuer.dev.behalf"
)

// newLocal prepares dir. The desk's files are copied there once, so that its
// policies and agents can be edited; credentials are made anew when they expire.
func newLocal(dir, example string) (*local, error) {
	return localOf(dir, example, func(file string, more func(*config.Config) []config.Problem) (*config.Config, error) {
		cfg, _, err := load(file, more)
		return cfg, err
	})
}

// localOf is newLocal with another way to read the config.
func localOf(dir, example string, read func(string, func(*config.Config) []config.Problem) (*config.Config, error)) (*local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	desk := filepath.Join(dir, "desk")
	if err := copyExample(example, desk); err != nil {
		return nil, err
	}
	l := &local{dir: dir, log: slog.Default()}
	l.beside.l, l.beside.out = l, io.Discard
	if l.cfg, err = read(filepath.Join(desk, "behalf.yaml"), stateIn(dir)); err != nil {
		return nil, err
	}
	if l.ca, err = identity.NewDevCA(identity.DevCAConfig{Dir: dir, TrustDomain: localDomain}); err != nil {
		return nil, err
	}
	if l.issuer, err = identity.NewDevIssuer(identity.DevIssuerConfig{URL: localIssuer, KeyFile: filepath.Join(dir, issuerKeyName)}); err != nil {
		return nil, err
	}
	file := filepath.Join(desk, "people.yaml")
	if l.people, err = readPeople(file); err != nil {
		return nil, wrongInput(err)
	}
	svid, err := l.ca.Files("/client")
	if err != nil {
		return nil, err
	}
	l.client = profile{
		Cert: svid.Cert, Key: svid.Key, Bundle: svid.Bundle, Server: "spiffe://" + localDomain + "/behalf",
		Issuer: localIssuer, Audience: localAudience, Tenant: localTenant, People: file,
	}
	return l, nil
}

// readPeople reads for whom the dev issuer signs. Without anybody nobody could call.
func readPeople(file string) (people, error) {
	var all people
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return all, err
	}
	err = nil
	if len(bytes.TrimSpace(data)) > 0 {
		all, err = parsePeople(data)
	}
	if err == nil && len(all.People) == 0 {
		err = fmt.Errorf("nobody is in %s, so the dev issuer signs tokens for nobody\n  next      write into it: people: [{ subject: alice, name: Alice, email: alice@acme.example, roles: [], scopes: [] }]", near(file))
	}
	return all, err
}

// copyExample leaves an existing copy alone.
func copyExample(name, to string) error {
	files, ok := map[string]fs.FS{"supportdesk": supportdesk.Files, "teams": teams.Files}[name]
	if !ok {
		return wrongInput(fmt.Errorf("there is no example %q; there are supportdesk and teams", name))
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := os.CopyFS(to, files); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("copy the example: %w", err)
	}
	return os.WriteFile(filepath.Join(filepath.Dir(to), exampleName), []byte(name+"\n"), 0o600)
}

// exampleName is the file that says which example a folder began with.
const exampleName = "example"

// notMixed refuses an example for a folder that has something else already.
func notMixed(dir, example string) error {
	desk := filepath.Join(dir, "desk")
	if _, err := os.Stat(desk); err != nil {
		return nil //nolint:nilerr // it is made from the example
	}
	if was, err := os.ReadFile(filepath.Join(dir, exampleName)); err == nil && trimmed(string(was)) == example {
		return nil
	}
	return wrongInput(fmt.Errorf("%s is there already, and not from the example %q\n  next      leave --example out to use what is there, or begin a new folder with another --dir", desk, example))
}

// stateIn keeps what the server writes beside the credentials. It is part of the
// look at the config, so that this folder is looked at and not the desk's.
func stateIn(dir string) func(*config.Config) []config.Problem {
	return func(c *config.Config) []config.Problem {
		c.Store.DSN = "sqlite://" + filepath.Join(dir, "behalf.db")
		c.Runs.Dir = filepath.Join(dir, "runs")
		c.Audit.Witness = filepath.Join(dir, "audit.witness")
		c.Server.OperatorTenant = localTenant
		c.Server.Reflection = true
		return nil
	}
}

// options wire the local world into a server.
func (l *local) options() ([]behalf.Option, error) {
	brought, err := examples()
	if err != nil {
		return nil, err
	}
	return append(brought,
		behalf.WithVersion(version()),
		behalf.WithPace(l.pace),
		behalf.WithReload(l.reread),
		behalf.WithReview(self()+" tools review --dir "+quoted(near(l.dir))),
		behalf.WithLogger(l.log),
		behalf.WithIdentity(behalf.Identity{
			Source:  l.ca,
			Issuers: []identity.Issuer{l.issuer.Issuer(localAudience, localTenant)},
			Tenants: map[string]string{localDomain: localTenant},
			Grants:  []identity.WorkloadGrant{{ID: "spiffe://" + localDomain + "/**", Issuers: []string{localIssuer}}},
		}),
	), nil
}

// reread is what the desk's file says now, for the server that runs.
func (l *local) reread() (*config.Config, error) {
	cfg, err := config.Load(filepath.Join(l.dir, "desk", "behalf.yaml"), os.LookupEnv)
	if err != nil {
		return nil, err
	}
	stateIn(l.dir)(cfg)
	cfg.Server.Listen, cfg.Server.HTTP = l.cfg.Server.Listen, l.cfg.Server.HTTP
	l.beside.aim(cfg)
	l.replaceModels(cfg)
	return cfg, nil
}

// save writes how clients reach the server, and who signs its call tokens.
func (l *local) save(s *behalf.Server) error {
	l.client.Addr, l.client.Handbook, l.client.Calls = s.Addr(), l.beside.handbookURL(), l.beside.issuer(s.HTTPAddr())
	b, err := json.MarshalIndent(l.client, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, profileName), append(b, '\n'), 0o600)
}

// useModel replaces the offline rules where a key is at hand, and says which it is.
func (l *local) useModel(getenv func(string) string) {
	l.model = "offline rules, not a language model (set OPENAI_API_KEY for a real one)"
	key := getenv("OPENAI_API_KEY")
	if key == "" {
		return
	}
	m := config.Model{BaseURL: getenv("OPENAI_BASE_URL"), APIKey: config.NewSecret(key), Model: getenv("OPENAI_MODEL")}
	if m.BaseURL == "" {
		m.BaseURL = "https://api.openai.com/v1"
	}
	if m.Model == "" {
		m.Model = "gpt-4o-mini"
	}
	l.online, l.model = &m, m.Model+" at "+m.BaseURL
	l.replaceModels(l.cfg)
}

func (l *local) replaceModels(cfg *config.Config) {
	for name := range cfg.Models {
		if l.online != nil {
			cfg.Models[name] = *l.online
		}
	}
}
