package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Limits of SECURITY 9.
const (
	maxTenants  = 1_000
	maxPolicies = 10_000
	MaxFile     = 1 << 20
)

// Config says where policies are and what they may name.
type Config struct {
	// Dir holds *.cedar (for everybody) and tenants/<tenant>/*.cedar. With FS
	// set it only names the directory in messages.
	Dir string
	FS  fs.FS

	Tools []ToolSchema
	// Absent are toolsets whose tools are not known yet because their backend is
	// down. Policies may name them and their tools; such a policy rests until a
	// reload knows the tool.
	Absent []string
	// Lost says that not even the names of all toolsets are known: the config has
	// problems there.
	Lost bool
	// Agents and GroupChats that policies may name; nil: any name.
	Agents     []string
	GroupChats []string
	// Actions are those of the RPCs, in snake case. The actions that only policy
	// knows (call_tool, act_for_other, …) need not be listed.
	Actions []string
	// Covered has Publish refuse a set whose tests leave a policy unshown.
	Covered bool
	// Resources narrows the entity types of an action, so that conditions on it
	// are checked for those only; without an entry any type is possible.
	Resources map[string][]string
}

// Set is a loaded, checked policy set. It is immutable.
type Set struct {
	rules    []*rule // sorted by id
	schema   *schema
	revision string
	warnings []string
	dir      string // what files' names begin with
	files    fs.FS  // what it was made of; nil: not kept
}

// Files are what the set was made of as it was then, to make it again for other
// tools; nil if they were not kept.
func (s *Set) Files() fs.FS { return s.files }

// Keeping is the set with the files that it was made of.
func (s *Set) Keeping(files fs.FS) *Set {
	kept := *s
	kept.files = files
	return &kept
}

// Revision names the set's content: policies and schema, not their layout in
// files.
func (s *Set) Revision() string { return s.revision }

// Warnings are findings that do not stop a load, e.g. arithmetic in a forbid
// that can overflow (and would then deny).
func (s *Set) Warnings() []string { return slices.Clone(s.warnings) }

// Policy is one policy as its author wrote it.
type Policy struct {
	ID     string
	Permit bool
	Duties []Duty // what lifts the forbid
	File   string // inside the policy folder
	Line   int
	Always bool // it holds for every call that its head matches
}

// Policies lists all policies by their ids.
func (s *Set) Policies() []Policy {
	all := make([]Policy, len(s.rules))
	for i, r := range s.rules {
		all[i] = s.policy(r)
	}
	return all
}

func (s *Set) policy(r *rule) Policy {
	return Policy{ID: r.id, Permit: r.permit(), Duties: slices.Clone(r.duties), File: s.short(r.at.file), Line: r.at.line, Always: r.unconditional()}
}

// short is a file as seen from the policy folder.
func (s *Set) short(file string) string { return strings.TrimPrefix(file, s.dir) }

// Problem is one thing wrong with a policy file. Load joins all it finds.
type Problem struct {
	File         string
	Inside       string // the file as seen from the policy folder
	Line, Column int
	Text         string
}

// Error is the problem as an editor can jump to it.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Load reads and checks a policy set. The error joins every problem found.
func Load(c Config) (*Set, error) {
	l := &loader{config: c, ids: map[string]position{}, checkers: map[*toolSchema]*checker{}}
	l.config.FS = c.Files()
	sch, err := newSchema(c)
	if err != nil {
		return nil, err
	}
	l.schema = sch
	l.readAll()
	if len(l.rules) > maxPolicies {
		l.add(position{file: l.name(".")}, fmt.Sprintf("%d policies; at most %d are allowed", len(l.rules), maxPolicies))
	}
	l.checkAll()
	if err := l.err(); err != nil {
		return nil, err
	}
	slices.SortFunc(l.rules, func(a, b *rule) int { return cmp.Compare(a.id, b.id) })
	slices.Sort(l.warnings)
	for i, r := range l.rules {
		r.n = i
	}
	return &Set{rules: l.rules, schema: sch, revision: revisionOf(l.rules, sch), warnings: l.warnings, dir: l.name("") + "/"}, nil
}

type loader struct {
	config   Config
	schema   *schema
	rules    []*rule
	ids      map[string]position
	problems []*Problem
	warnings []string
	checkers map[*toolSchema]*checker
}

type position struct {
	file         string
	line, column int
}

func (p position) String() string { return fmt.Sprintf("%s:%d:%d", p.file, p.line, p.column) }

func (l *loader) add(at position, text string) {
	l.problems = append(l.problems, &Problem{File: at.file, Inside: strings.TrimPrefix(at.file, l.name("")+"/"), Line: max(at.line, 1), Column: max(at.column, 1), Text: text})
}

func (l *loader) err() error {
	slices.SortStableFunc(l.problems, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	problems := slices.CompactFunc(l.problems, func(a, b *Problem) bool { return *a == *b })
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

func (l *loader) name(p string) string { return path.Join(l.config.Dir, p) }

// readAll reads the two places where policies live. A policy file anywhere else
// would be silently without effect, so it is a problem.
func (l *loader) readAll() {
	for _, e := range l.entries(".") {
		if l.isDir(e) && e != "tenants" {
			l.add(position{file: l.name(e)}, "policies are read from this directory's parent and from tenants/<tenant>; move or remove this directory")
			continue
		}
		if e != "tenants" {
			l.readFile(e, "")
		}
	}
	if l.isDir("tenants") {
		l.readTenants()
	}
}

// validTenant is DESIGN 5's form: ^[a-z0-9][a-z0-9-]{0,62}$.
func validTenant(name string) bool {
	return len(name) > 0 && len(name) <= 63 && name[0] != '-' && only(name, "abcdefghijklmnopqrstuvwxyz0123456789-")
}

// only reports whether s consists of the given characters.
func only(s, chars string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(chars, r) })
}

func (l *loader) readTenants() {
	tenants := l.entries("tenants")
	if len(tenants) > maxTenants {
		l.add(position{file: l.name("tenants")}, fmt.Sprintf("%d tenants; at most %d are allowed", len(tenants), maxTenants))
		return
	}
	for _, t := range tenants {
		dir := path.Join("tenants", t)
		if !l.isDir(dir) {
			l.strayFile(dir, "a tenant's policies belong into tenants/<tenant>/")
			continue
		}
		if !validTenant(t) {
			l.add(position{file: l.name(dir)}, "not the name of a tenant: lower-case letters, digits and dashes only")
			continue
		}
		l.readTenant(dir, t)
	}
}

func (l *loader) readTenant(dir, tenant string) {
	for _, e := range l.entries(dir) {
		p := path.Join(dir, e)
		if l.isDir(p) {
			l.add(position{file: l.name(p)}, "a tenant's policies are read from its directory only; move or remove this directory")
			continue
		}
		l.readFile(p, tenant)
	}
}

func (l *loader) strayFile(p, text string) {
	if strings.HasSuffix(p, ".cedar") {
		l.add(position{file: l.name(p)}, text)
	}
}

// entries lists a directory without hidden names, such as the ones by which a
// Kubernetes volume swaps its content.
func (l *loader) entries(dir string) []string {
	found, err := fs.ReadDir(l.config.FS, dir)
	if err != nil {
		l.add(position{file: l.name(dir)}, "cannot be read: "+cause(err))
		return nil
	}
	var names []string
	for _, e := range found {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// cause leaves out the file, which a problem names anyway.
func cause(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// isDir follows symbolic links, which a volume is full of.
func (l *loader) isDir(p string) bool {
	info, err := fs.Stat(l.config.FS, p)
	return err == nil && info.IsDir()
}

func (l *loader) readFile(p, tenant string) {
	if !strings.HasSuffix(p, ".cedar") {
		return
	}
	src, err := fs.ReadFile(l.config.FS, p)
	if err != nil {
		l.add(position{file: l.name(p)}, "cannot be read: "+cause(err))
		return
	}
	if len(src) > MaxFile {
		l.add(position{file: l.name(p)}, fmt.Sprintf("larger than %d bytes; split it", MaxFile))
		return
	}
	l.parse(l.name(p), tenant, src)
}
