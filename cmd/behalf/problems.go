package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"go.yaml.in/yaml/v4"
)

// problems is everything that is wrong with a config file and what it names:
// one line each, with its place and what to do.
type problems struct {
	file string
	list []string
}

func (p *problems) Error() string {
	count := "1 problem"
	if len(p.list) != 1 {
		count = fmt.Sprintf("%d problems", len(p.list))
	}
	return fmt.Sprintf("%s: %s; nothing was started\n  %s", p.file, count, strings.Join(p.list, "\n  "))
}

func (p *problems) add(lines ...string) {
	for _, l := range lines {
		if !slices.Contains(p.list, l) {
			p.list = append(p.list, l)
		}
	}
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return wrongInput(p)
}

// load reads a config file and checks all that can be checked without opening
// or starting anything. The error names every problem: those of the file, and
// those of the policies, tools, models and keys that it names.
func load(file string, more func(*config.Config) []config.Problem) (*config.Config, []behalf.Option, error) {
	options, err := examples()
	if err != nil {
		return nil, nil, err
	}
	found := &problems{file: near(file)}
	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		found.add(located(err, file, nowhere)...)
		if rest, where := salvage(file); rest != nil {
			found.more(rest, more)
			found.add(located(checked(rest, options), file, where)...)
		}
		return nil, nil, found.err()
	}
	found.more(cfg, more)
	found.add(located(errors.Join(checkAuditKey(cfg), checkWorkloadFiles(cfg), checked(cfg, options)), file, cfg.Position)...)
	return cfg, options, found.err()
}

func (p *problems) more(cfg *config.Config, check func(*config.Config) []config.Problem) {
	if check == nil {
		return
	}
	for _, one := range check(cfg) {
		one.File = p.file
		p.add(one.String())
	}
}

// position finds a config path such as "tools.desk" in its file; 0 if it cannot.
type position func(path string) (line, column int)

func nowhere(string) (line, column int) { return 0, 0 }

func checked(cfg *config.Config, options []behalf.Option) error {
	_, _, err := behalf.Check(cfg, options...)
	return err
}

func checkAuditKey(cfg *config.Config) error {
	if cfg.Audit.Key.IsZero() {
		return nil
	}
	if _, err := audit.ParseKey([]byte(cfg.Audit.Key.Reveal())); err != nil {
		return fmt.Errorf("audit.key: %w; make one with `openssl genpkey -algorithm ed25519`", err)
	}
	return nil
}

func checkWorkloadFiles(cfg *config.Config) error {
	w := cfg.Identity.Workload
	if w.Source != "files" {
		return nil
	}
	if _, err := identity.NewFiles(identity.FilesConfig{Cert: w.Cert, Key: w.Key, Bundles: w.Bundles}); err != nil {
		return fmt.Errorf("identity.workload: %w", err)
	}
	return nil
}

// located gives each problem in err a line of its own, with its place where it
// is known.
func located(err error, file string, where position) []string {
	if err == nil {
		return nil
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var lines []string
		for _, one := range several.Unwrap() {
			lines = append(lines, located(one, file, where)...)
		}
		return lines
	}
	if p, ok := errors.AsType[*config.Problems](err); ok {
		return strings.Split(p.Error(), "\n")
	}
	if p, ok := errors.AsType[*policy.Problem](err); ok {
		return []string{fmt.Sprintf("%s:%d:%d: %s", near(p.File), p.Line, p.Column, p.Text)}
	}
	if lines := ruleProblems(err.Error()); lines != nil {
		return lines
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	path, _, _ := strings.Cut(text, ": ")
	if line, column := where(path); line > 0 {
		return []string{fmt.Sprintf("%s:%d:%d: %s", near(file), line, column, text)}
	}
	return []string{near(file) + ": " + text}
}

var (
	ruleFile = regexp.MustCompile(`(?s)^models\.\S+: demo rules (.+?): (.*)$`)
	ruleLine = regexp.MustCompile(`line (\d+): (.*)`)
)

// ruleProblems turns what the offline model says about its rules into lines
// that an editor can jump to.
func ruleProblems(text string) []string {
	m := ruleFile.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	var lines []string
	for _, l := range strings.Split(m[2], "\n") {
		if at := ruleLine.FindStringSubmatch(l); at != nil {
			lines = append(lines, fmt.Sprintf("%s:%s: %s", near(m[1]), at[1], at[2]))
		} else {
			lines = append(lines, near(m[1])+": "+strings.TrimSpace(l))
		}
	}
	return lines
}

// near is path as seen from here, if it is below here.
func near(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// rough is what salvage reads of a config file.
type rough struct {
	Server struct {
		ClientCertificate string `yaml:"client_certificate"`
	}
	Identity struct {
		Workload struct {
			Source  string
			Tenants map[string]any
			Grants  []any
		}
		JWT struct{ Issuers []any } `yaml:"jwt"`
	}
	Tools      map[string]yaml.Node
	Models     map[string]struct{ Demo string }
	Agents     map[string]any
	GroupChats map[string]any `yaml:"group_chats"`
	Policy     struct{ Dir string }
}

// salvage reads from a file with problems what is needed to look at what it
// names too: its policies, tools and offline models. So one look shows
// everything. What cannot be read is left out: the file's own problems name it.
func salvage(file string) (*config.Config, position) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil
	}
	var r rough
	if err := yaml.Load(data, &r); err != nil {
		return nil, nil
	}
	at := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(filepath.Dir(file), path)
	}
	cfg := &config.Config{
		Tools: map[string]config.Toolset{}, Models: map[string]config.Model{}, Agents: map[string]config.Agent{},
		GroupChats: map[string]config.GroupChat{}, Policy: config.Policy{Dir: at(r.Policy.Dir)},
	}
	if info, err := os.Stat(cfg.Policy.Dir); err != nil || !info.IsDir() {
		return nil, nil
	}
	r.identity(cfg)
	for name := range r.Tools {
		var t struct{ Builtin string }
		node := r.Tools[name]
		if err := node.Decode(&t); err == nil {
			cfg.Tools[name] = config.Toolset{Builtin: t.Builtin}
		}
	}
	for name, m := range r.Models {
		if _, err := os.Stat(at(m.Demo)); m.Demo != "" && err == nil {
			cfg.Models[name] = config.Model{Demo: at(m.Demo)}
		}
	}
	for name := range r.Agents {
		cfg.Agents[name] = config.Agent{}
	}
	for name := range r.GroupChats {
		cfg.GroupChats[name] = config.GroupChat{}
	}
	return cfg, func(path string) (line, column int) {
		node := r.Tools[strings.TrimPrefix(path, "tools.")]
		return node.Line, node.Column
	}
}

// identity keeps how much there is of it, which is what CheckServe asks.
func (r *rough) identity(cfg *config.Config) {
	cfg.Server.ClientCertificate = r.Server.ClientCertificate
	if cfg.Server.ClientCertificate == "" {
		cfg.Server.ClientCertificate = "required"
	}
	w := r.Identity.Workload
	cfg.Identity.Workload = config.Workload{Source: w.Source, Tenants: map[string]string{}, Grants: make([]config.WorkloadGrant, len(w.Grants))}
	for domain := range w.Tenants {
		cfg.Identity.Workload.Tenants[domain] = ""
	}
	cfg.Identity.JWT.Issuers = make([]config.Issuer, len(r.Identity.JWT.Issuers))
}
