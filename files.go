package behalf

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
)

// files looks at what New will open or make, and makes nothing.
type files struct {
	*Server
	list []config.Problem
	told map[string]bool // causes: one folder may be in the way of several things
}

// checkFiles finds files and folders that New could not open or make.
func (s *Server) checkFiles() error {
	f := &files{Server: s, told: map[string]bool{}}
	f.serving()
	f.workload()
	f.storage()
	f.witnessing()
	f.journaling()
	f.signing()
	if s.cfg.Runs.Log == "embedded" {
		f.needs("runs.dir", audit.CheckFolder(s.cfg.Runs.Dir))
	}
	if len(f.list) == 0 {
		return nil
	}
	return &config.Problems{List: f.list}
}

// needs notes why something that has to be written cannot be.
func (f *files) needs(path string, err error) {
	switch {
	case errors.Is(err, audit.ErrMode):
		f.bad(path, err, "") // it says what to run
	case errors.Is(err, fs.ErrNotExist):
		f.bad(path, err, "create it, or name another place")
	case errors.Is(err, fs.ErrPermission):
		f.bad(path, err, "let the user that the server runs as write there, or name another place")
	default:
		f.bad(path, err, "name another place")
	}
}

// bad leaves out what the file's own problems say.
func (f *files) bad(path string, err error, fix string) {
	if err == nil || f.told[err.Error()] || f.cfg.Spoilt(path) {
		return
	}
	f.told[err.Error()] = true
	f.list = append(f.list, f.cfg.Problem(path, strings.ReplaceAll(err.Error(), "\n", "; "), fix))
}

// serving looks whether a certificate and a key belong together.
func (f *files) serving() {
	if t := f.cfg.Server.HTTPTLS; t != nil && t.Cert != "" && t.Key != "" {
		_, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		f.bad("server.http_tls", err, "name a PEM certificate and the key that belongs to it")
	}
}

func (f *files) workload() {
	w := f.cfg.Identity.Workload
	if f.opt.identity == nil {
		f.federated()
	}
	switch {
	case f.opt.identity != nil:
	case w.Source == "dev":
		f.needs("identity.workload.dir", audit.CheckFolder(w.Dir))
	case w.Source == "files" && w.Cert != "" && w.Key != "" && len(w.Bundles) > 0:
		_, err := identity.NewFiles(identity.FilesConfig{Cert: w.Cert, Key: w.Key, Bundles: w.Bundles})
		f.bad("identity.workload", err, "cert, key and bundles name PEM files that belong together")
	}
}

func (f *files) federated() {
	for _, d := range federation(f.cfg) {
		if at := fmt.Sprintf("identity.workload.federation[%q]", d.TrustDomain); d.Bundle != "" {
			f.bad(at+".bundle", d.Check(), "name a PEM file of the domain's authorities")
		}
	}
}

// storage is the database and its folder.
func (f *files) storage() {
	if path, ok := f.database(); ok {
		f.needs("store.dsn", audit.CheckPrivate(path))
	}
}

func (f *files) database() (path string, ok bool) {
	path, ok = strings.CutPrefix(f.cfg.Store.DSN, "sqlite://")
	return path, ok && path != ""
}

// beside looks at a file whose folder must be there, unless it is made for the store.
func (f *files) beside(path, where string) {
	check := audit.CheckWitness
	if db, ok := f.database(); ok && isIn(filepath.Dir(where), filepath.Dir(db)) {
		check = audit.CheckPrivate
	}
	f.needs(path, check(where))
}

func (f *files) witnessing() {
	if where := f.cfg.Audit.Witness; where != "" && where != "stdout" {
		f.beside("audit.witness", where)
	}
}

// journaling: the journal is made when it is needed, which is too late to find out
// that it cannot be.
func (f *files) journaling() {
	if where := f.cfg.Audit.Journal; where != "" && f.cfg.Audit.Journaled() {
		f.beside("audit.journal", where)
	}
}

// isIn reports whether a folder is another one or somewhere in it.
func isIn(outer, dir string) bool {
	rel, err := filepath.Rel(outer, dir)
	return err == nil && filepath.IsLocal(rel)
}

// signing is the key that the program brought, the configured one, or the one
// beside the store.
func (f *files) signing() {
	if key := f.opt.signer; key != nil {
		f.remote(key)
		return
	}
	if key := f.cfg.Audit.Key; !key.IsZero() {
		_, err := audit.ParseKey([]byte(key.Reveal()))
		f.bad("audit.key", err, "make one with `openssl genpkey -algorithm ed25519`")
		return
	}
	db, ok := f.database()
	if !ok || f.cfg.Spoilt("audit.key") {
		return
	}
	private := filepath.Join(filepath.Dir(db), "audit.key")
	if err := lost(private); err != nil {
		f.bad("store.dsn", err, "")
		return
	}
	if _, err := audit.LoadKey(private); err != nil && audit.CheckPrivate(private) == nil && !errors.Is(err, fs.ErrNotExist) {
		f.bad("store.dsn", fmt.Errorf("%s: %w", private, err), "put the key back that signed the log, or move the whole folder away to begin a new log")
		return
	}
	f.needs("store.dsn", audit.CheckPrivate(private))
}

// remote is a key that the program brought.
func (f *files) remote(key crypto.Signer) {
	_, err := audit.PublicOf(key)
	f.bad("audit.key", err, "give WithAuditSigner an Ed25519 key")
	if !f.cfg.Audit.Key.IsZero() {
		f.bad("audit.key", errTwoKeys, "leave it out")
	}
	if _, err := f.digestSeed(key); err != nil {
		f.bad("audit.digest_key", err, "")
	}
}

var errTwoKeys = errors.New("the program brings its own signing key")
