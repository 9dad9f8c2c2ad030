package config

import (
	"strings"
	"time"
)

// Policy is where the Cedar policies are.
type Policy struct {
	Dir             string        `yaml:"dir" is:"dir"`
	RequireCoverage bool          `yaml:"require_coverage"`               // a policy that no test shows is not put in force
	ApprovalLife    time.Duration `yaml:"approval_life" range:"1m..720h"` // from the question to the call
}

// Audit is how the record is kept.
type Audit struct {
	CheckpointEvery int                    `yaml:"checkpoint_every" range:"1..100000"` // rows
	Witness         string                 `yaml:"witness" is:"path" or:"stdout"`      // a file outside the store, or stdout
	Key             Secret                 `yaml:"key"`                                // Ed25519, of the checkpoints
	OnUnavailable   string                 `yaml:"on_unavailable" enum:"refuse|journal"`
	Tenants         map[string]AuditTenant `yaml:"tenants" keys:"tenant"`
}

// AuditTenant is what is different for one tenant.
type AuditTenant struct {
	OnUnavailable string `yaml:"on_unavailable" enum:"refuse|journal"`
}

// Store is the database.
type Store struct {
	DSN string `yaml:"dsn" is:"dsn"`
}

// Runs is where runs live.
type Runs struct {
	Log        string        `yaml:"log"`
	Dir        string        `yaml:"dir" is:"path"` // of embedded
	OfflineMax time.Duration `yaml:"offline_max" range:"1m..720h"`
}

func (c *checker) operations() {
	if c.Policy.Dir == "" {
		c.missing("policy.dir", "name the folder of the policies; without a policy nothing is allowed")
	}
	c.journal("audit.on_unavailable", c.Audit.OnUnavailable)
	for _, tenant := range names(c.Audit.Tenants) {
		p := place("audit.tenants").key(tenant).key("on_unavailable")
		if c.said(p) {
			c.journal(p, c.Audit.Tenants[tenant].OnUnavailable)
		}
	}
	c.store()
	c.log()
}

func (c *checker) journal(p place, mode string) {
	if mode == "journal" {
		c.bad(p, later+"the journal", "say refuse")
	}
}

// store does not quote a DSN: it may hold a password.
func (c *checker) store() {
	const p = place("store.dsn")
	switch path, sqlite := strings.CutPrefix(c.Store.DSN, "sqlite://"); {
	case strings.HasPrefix(c.Store.DSN, "postgres://"), strings.HasPrefix(c.Store.DSN, "postgresql://"):
		c.bad(p, later+"Postgres", "use sqlite://path")
	case !sqlite:
		c.bad(p, "names no store that is known here", "write sqlite://path")
	case path == "":
		c.bad(p, "has no path", "write sqlite://path")
	case strings.HasPrefix(path, ":memory:"):
		c.bad(p, "is in memory, where no record lasts", "write sqlite://path")
	}
}

func (c *checker) log() {
	const p = place("runs.log")
	switch log := c.Runs.Log; {
	case strings.HasPrefix(log, "nats://"), strings.HasPrefix(log, "tls://"):
		c.bad(p, later+"an external NATS cluster", "say embedded or memory")
	case log != "embedded" && log != "memory":
		c.bad(p, c.show(p)+" is not a log", c.suggest(c.written[p], these([]string{"embedded", "memory"})))
	}
}
