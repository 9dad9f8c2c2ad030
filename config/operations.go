package config

import (
	"strconv"
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
	DigestKey       Secret                 `yaml:"digest_key"`                         // of digests and the journal; empty: derived from the key
	Retention       time.Duration          `yaml:"retention" range:"24h..87600h"`      // rows that are older are removed; absent: none
	OnUnavailable   string                 `yaml:"on_unavailable" enum:"refuse|journal"`
	Journal         string                 `yaml:"journal" is:"path"` // a file; empty: beside the store
	JournalBytes    int                    `yaml:"journal_bytes" range:"65536..1073741824"`
	Tenants         map[string]AuditTenant `yaml:"tenants" keys:"tenant"`
}

// Journals says whether the reads of a tenant are journaled while the log cannot be
// written.
func (a *Audit) Journals(tenant string) bool {
	if t, ok := a.Tenants[tenant]; ok {
		return t.OnUnavailable == journals
	}
	return a.OnUnavailable == journals
}

// Journaled says whether those of any tenant are.
func (a *Audit) Journaled() bool {
	for _, t := range a.Tenants {
		if t.OnUnavailable == journals {
			return true
		}
	}
	return a.OnUnavailable == journals
}

const journals = "journal"

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
	// MaxTurns are those of one run, MaxToolCalls those of one thread of a run.
	MaxTurns     int `yaml:"max_turns" range:"1..1000"`
	MaxToolCalls int `yaml:"max_tool_calls" range:"1..2000"`
}

// CallTokens are what calls to tools' backends carry.
type CallTokens struct {
	Issuer string        `yaml:"issuer" is:"https"` // whose they are, and below which backends find the keys; empty: the http listener
	Rotate time.Duration `yaml:"rotate" range:"10m..720h"`
}

func (c *checker) operations() {
	if c.Policy.Dir == "" {
		c.missing("policy.dir", "name the folder of the policies; without a policy nothing is allowed")
	}
	c.digestKey()
	c.journal()
	c.store()
	c.log()
	for _, name := range names(c.Agents) {
		c.turns(place("agents").key(name), c.Agents[name].MaxTurns)
	}
	for _, name := range names(c.GroupChats) {
		c.turns(place("group_chats").key(name), c.GroupChats[name].MaxTurns)
	}
}

// turns refuses a limit that would never be reached, and be taken for the one that
// is.
func (c *checker) turns(p place, most int) {
	if most > c.Runs.MaxTurns && c.Runs.MaxTurns > 0 {
		c.bad(p.key("max_turns"), "is more than the "+strconv.Itoa(c.Runs.MaxTurns)+" turns of any run", "raise runs.max_turns too, or take fewer")
	}
}

// leastSecret is how long a secret is that nobody can guess.
const leastSecret = 32

func (c *checker) digestKey() {
	if k := c.Audit.DigestKey; !k.IsZero() && len(k.Reveal()) < leastSecret {
		c.bad("audit.digest_key", "is shorter than 32 characters, so it can be guessed", "make one with `openssl rand -base64 32`")
	}
}

// journal: a file of two uses would be neither.
func (c *checker) journal() {
	const p = place("audit.journal")
	switch j := c.Audit.Journal; {
	case j == "":
	case j == c.Audit.Witness:
		c.bad(p, "is the file of the witness", "name a file of its own")
	case "sqlite://"+j == c.Store.DSN:
		c.bad(p, "is the file of the store", "name a file of its own, best on another disk")
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
