package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"time"
)

// Config is behalf.yaml. Zero values of optional fields mean the default that
// docs/configuration.md names.
type Config struct {
	Server     Server               `yaml:"server"`
	Identity   Identity             `yaml:"identity"`
	Models     map[string]Model     `yaml:"models" keys:"name"`
	Tools      map[string]Toolset   `yaml:"tools" keys:"name"`
	Agents     map[string]Agent     `yaml:"agents" keys:"name"`
	GroupChats map[string]GroupChat `yaml:"group_chats" keys:"name"`
	Policy     Policy               `yaml:"policy"`
	Audit      Audit                `yaml:"audit"`
	Store      Store                `yaml:"store"`
	Runs       Runs                 `yaml:"runs"`
	CallTokens CallTokens           `yaml:"call_tokens"`

	places places
	flawed bool // the rest of a file with problems
}

// World is what a configuration file may ask about.
type World struct {
	Dir  string                             // relative paths begin here; empty: they stay as they are
	Env  func(name string) (string, bool)   // absent: no variable is set
	Open func(path string) (fs.File, error) // absent: the file system of the machine
}

// Load reads the file at path. Relative paths in it are relative to its folder.
// The error is *Problems when the file can be read but not used.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	w := World{Dir: filepath.Dir(path), Env: env}
	data, err := w.read(path, maxConfig)
	if err != nil {
		return nil, &Problems{List: []Problem{{File: path, Message: "the configuration cannot be read: " + reason(err), Fix: "name the file with -c"}}}
	}
	return Parse(path, data, w)
}

// Parse reads data; name is what problems call the file.
func Parse(name string, data []byte, w World) (*Config, error) {
	r := newReader(name, w)
	c := r.config(data)
	if len(r.found) == 0 {
		return c, nil
	}
	if c != nil {
		c.flawed = true
	}
	return nil, &Problems{List: r.list(name), Rest: c}
}

// config is what can be read of data, nil if nothing can.
func (r *reader) config(data []byte) *Config {
	root := r.parse(data)
	if root == nil || !r.shape(root) {
		return nil
	}
	c := &Config{places: r.places}
	if !r.decode(root, c) {
		return nil
	}
	c.defaults(r.world)
	(&checker{reader: r, Config: c}).all()
	return c
}

// Revision is the hex SHA-256 of the parsed data. It does not depend on how the
// file is written, nor on secrets: a digest of a weak secret would give it away.
func (c *Config) Revision() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic("config: the configuration cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Position is the line and column of the value at a path such as
// "agents.support.tools[0]", or of the nearest thing around it. Both are 0 for
// what the file does not say.
func (c *Config) Position(path string) (line, column int) {
	m := c.places.nearest(place(path))
	return m.line, m.column
}

// Problem is what others find wrong with the value at a path.
func (c *Config) Problem(path, message, fix string) Problem {
	return c.places.problem(place(path), message, fix)
}

// Flawed reports whether c is only the rest of a file with problems.
func (c *Config) Flawed() bool { return c.flawed }

// Spoilt reports whether what the file says at a path, or around it, was taken
// out because it is wrong: then the value is not what somebody meant, and it
// says nothing about the rest. Only Problems.Rest has such places.
func (c *Config) Spoilt(path string) bool { return c.places.isSpoilt(place(path)) }

// Lost reports whether a section has lost some of its names, so that it cannot
// be said of any name that it is not there.
func (c *Config) Lost(section string) bool { return c.places.lost(place(section)) }

func (c *Config) defaults(w World) {
	set(&c.Server.Listen, "127.0.0.1:8443")
	set(&c.Server.ClientCertificate, "required")
	if c.Identity.Workload.Source == "dev" {
		set(&c.Identity.Workload.Dir, resolve(w.Dir, ".behalf"))
	}
	for _, t := range c.Tools {
		if t.MCP != nil {
			set(&t.MCP.Pins, resolve(w.Dir, "tools.lock"))
		}
	}
	for name, a := range c.Agents {
		set(&a.Kind, KindAssistant)
		c.Agents[name] = a
	}
	for name, g := range c.GroupChats {
		set(&g.Authority, "speaker")
		c.GroupChats[name] = g
	}
	set(&c.Audit.CheckpointEvery, 1000)
	set(&c.Runs.MaxTurns, 64)
	set(&c.Runs.MaxToolCalls, 128)
	set(&c.Audit.OnUnavailable, "refuse")
	set(&c.Audit.JournalBytes, 16<<20)
	for name, t := range c.Audit.Tenants {
		set(&t.OnUnavailable, c.Audit.OnUnavailable)
		c.Audit.Tenants[name] = t
	}
	set(&c.Store.DSN, resolveDSN(w.Dir, "sqlite://.behalf/behalf.db"))
	set(&c.Runs.Log, "embedded")
	set(&c.Runs.Dir, resolve(w.Dir, ".behalf/runs"))
	set(&c.Runs.OfflineMax, 24*time.Hour)
	set(&c.Policy.ApprovalLife, 24*time.Hour)
	set(&c.CallTokens.Rotate, 24*time.Hour)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
