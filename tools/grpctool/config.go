package grpctool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/behalf-dev/behalf/tools"
)

// Config says which methods of a backend become tools, and how it is called.
type Config struct {
	Toolset  string
	Target   string   // as grpc.NewClient takes it: host:port, dns:///host:port, unix:///…
	Services []string // full names of the services whose methods become tools

	// DescriptorSet is a FileDescriptorSet with all imports, as `buf build
	// --as-file-descriptor-set` makes it; it has the comments. Nil: the backend is
	// asked by server reflection, version 1.
	DescriptorSet []byte

	// TLS is what [identity.ClientTLS] gives. Nil: TLS with the system's roots and
	// no client certificate. There is no way without TLS: a token goes over it.
	TLS *tls.Config

	Tokens  tools.Issuing // required: each call carries who it is for
	Backend tools.Backend // whom the tokens are for; Audience is required

	Prefix string           // in front of the tools' names, except those that Facts name
	Facts  map[string]Facts // by method, GetCustomer or crm.v1.Customers/GetCustomer
	// Waived are parameters that look like a person's id and are not, or whose
	// owner somebody else checks: GetOrder.filter.account. And those that can hold
	// anything, which no policy looks into. A waiver takes no owner away: with Owners
	// it is an error, with the backend's own it does nothing, and Notes say so.
	Waived []string
	// Reveal are the redact classes (behalf.v1.field) that answers keep.
	Reveal []string

	Timeout     time.Duration // of a call; default 20 s
	Refresh     time.Duration // how often descriptors are read again; default 5 min
	Reread      time.Duration // between two reads because answers have news, or because the backend hangs up; default 10 s
	MaxResult   int           // bytes of a result as JSON, and of an answer as sent; default 256 KiB
	MaxMessages int           // of a stream; default 100

	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
}

// Facts are what a backend does not say of a method, or what goes before what it
// says. Zero values leave it as the backend says.
type Facts struct {
	Name        string
	Description string
	Scopes      []string // nil: the backend's; empty: none
	Effect      tools.Effect
	Risk        string
	Idempotent  bool
	Owners      map[string]tools.Owner // parameter → fact of the caller
	Skip        bool                   // the method is no tool
}

func (c *Config) complete() error {
	if c.Timeout <= 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Refresh <= 0 {
		c.Refresh = 5 * time.Minute
	}
	if c.Reread <= 0 {
		c.Reread = 10 * time.Second
	}
	if c.MaxResult <= 0 {
		c.MaxResult = 256 << 10
	}
	if c.MaxMessages <= 0 {
		c.MaxMessages = 100
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return c.check()
}

var validPrefix = regexp.MustCompile(`^[a-z0-9_]{0,32}$`)

func (c *Config) check() error {
	var problems []error
	no := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	no(c.Target == "", "a target must be said")
	no(len(c.Services) == 0, "the services must be named whose methods become tools")
	no(len(c.Services) > maxServices, "at most %d services", maxServices)
	no(c.Tokens == nil || c.Backend.Audience == "" || c.Backend.Type == "", "the tokens, their audience and their type must be said")
	no(!validPrefix.MatchString(c.Prefix), "the prefix %q must match [a-z0-9_]{0,32}", c.Prefix)
	return errors.Join(problems...)
}

// Bounds of what becomes tools.
const (
	maxServices = 64
	maxMethods  = 1024
)
