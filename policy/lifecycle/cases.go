package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/policy/engine"
)

// testSuffix marks the files of policy tests, beside the policies.
const testSuffix = ".policytest.yaml"

// Case is one test of a policy set: a call and what must be decided.
type Case struct {
	Name     string       `yaml:"name"`
	User     *CaseUser    `yaml:"user"`
	Workload string       `yaml:"workload"` // SPIFFE ID; alone, or carrying the user
	Scopes   []string     `yaml:"scopes"`   // of a workload that calls alone
	Tenant   string       `yaml:"tenant"`   // of a workload that calls alone
	Chain    []string     `yaml:"chain"`
	Tier     string       `yaml:"tier"`
	Session  string       `yaml:"session"`
	Time     time.Time    `yaml:"time"`   // default 2026-01-01T12:00:00Z
	Action   string       `yaml:"action"` // default call_tool
	Tool     string       `yaml:"tool"`
	Resource CaseResource `yaml:"resource"` // of calls that are not of tools
	Args     yaml.Node    `yaml:"args"`     // a mapping, or a text of JSON
	Expect   CaseExpect   `yaml:"expect"`

	file  string
	line  int
	query *engine.Query
}

// CaseUser is the person of a case.
type CaseUser struct {
	Subject string        `yaml:"subject"`
	Tenant  string        `yaml:"tenant"` // default: the directory's tenant
	Roles   []string      `yaml:"roles"`
	Scopes  []string      `yaml:"scopes"`
	ACR     string        `yaml:"acr"`
	AuthAge time.Duration `yaml:"auth_age"` // absent: not known
}

// CaseResource is the resource of a case.
type CaseResource struct {
	Type  string `yaml:"type"`
	ID    string `yaml:"id"`
	Owner string `yaml:"owner"` // tenant/subject
}

// CaseExpect is what a case must give. Lists that are absent are not compared;
// empty ones mean none.
type CaseExpect struct {
	Decision string    `yaml:"decision"` // allow or deny
	Reason   string    `yaml:"reason"`
	Duties   *[]string `yaml:"duties"` // as in the policy: redact(result:$.ssn)
	Policies *[]string `yaml:"policies"`
}

// CaseResult is a case with what was decided.
type CaseResult struct {
	Case     Case
	At       string // file:line
	Decision engine.Decision
	Failures []string // empty: passed
}

// RunTests decides the cases of all *.policytest.yaml files in the two places
// where policies live. The error joins what is wrong with the files; a case that
// fails is a result, not an error.
func RunTests(set *engine.Set, fsys fs.FS) ([]CaseResult, error) {
	var results []CaseResult
	var errs []error
	engine := engine.New(set)
	for _, file := range testFiles(fsys) {
		cases, err := readCases(fsys, file)
		if err != nil {
			errs = append(errs, err)
		}
		for _, c := range cases {
			results = append(results, run(engine, c))
		}
	}
	return results, errors.Join(errs...)
}

func testFiles(fsys fs.FS) []string {
	return append(glob(fsys, "*"+testSuffix), glob(fsys, "tenants/*/*"+testSuffix)...)
}

func readCases(fsys fs.FS, file string) ([]Case, error) {
	bad := func(line, column int, text string) *engine.Problem {
		return &engine.Problem{File: file, Inside: file, Line: max(line, 1), Column: max(column, 1), Text: text}
	}
	if info, err := fs.Stat(fsys, file); err != nil || info.Size() > engine.MaxFile {
		return nil, bad(1, 1, fmt.Sprintf("cannot be read, or is larger than %d bytes; split it", engine.MaxFile))
	}
	src, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, bad(1, 1, "cannot be read: "+err.Error())
	}
	var doc struct {
		Cases []yaml.Node `yaml:"cases"`
	}
	if err := yaml.Load(src, &doc, yaml.WithKnownFields()); err != nil {
		return nil, misread(bad, &yaml.Node{Line: 1, Column: 1}, err)
	}
	var cases []Case
	var errs []error
	for _, n := range doc.Cases {
		c, err := readCase(&n, file)
		if err != nil {
			errs = append(errs, misread(bad, &n, err))
			continue
		}
		cases = append(cases, c)
	}
	return cases, errors.Join(errs...)
}

// misread says what is wrong with a case where it is wrong. The decoder speaks of
// Go types, which no author of a case knows.
func misread(bad func(line, column int, text string) *engine.Problem, n *yaml.Node, err error) error {
	decoded, ok := errors.AsType[*yaml.LoadErrors](err)
	if one, no := errors.AsType[*yaml.LoadError](err); !ok && no {
		return bad(one.Mark.Line, one.Mark.Column, one.Message)
	}
	if !ok {
		return bad(n.Line, n.Column, err.Error())
	}
	var errs []error
	for _, e := range decoded.Errors {
		errs = append(errs, bad(e.Mark.Line, e.Mark.Column, plainly(e.Message)))
	}
	return errors.Join(errs...)
}

// What the decoder says, and the keys that a file of cases can have.
var (
	noField  = regexp.MustCompile(`^field (\S+) not found in type `)
	noFit    = regexp.MustCompile(`(?s)^cannot construct \S+( .*)? into `)
	caseKeys = []string{
		"cases", "name", "user", "workload", "scopes", "tenant", "chain", "tier", "session", "time", "action", "tool", "resource", "args", "expect",
		"subject", "roles", "acr", "auth_age", "type", "id", "owner", "decision", "reason", "duties", "policies",
	}
)

func plainly(text string) string {
	if m := noField.FindStringSubmatch(text); m != nil {
		return "unknown key " + m[1] + typo.DidYouMean(m[1], caseKeys)
	}
	if m := noFit.FindStringSubmatch(text); m != nil {
		return strings.TrimSpace(m[1] + " is not what belongs here")
	}
	return text
}

func readCase(n *yaml.Node, file string) (Case, error) {
	c := Case{file: file, line: n.Line}
	if err := n.Load(&c, yaml.WithKnownFields()); err != nil {
		return c, err
	}
	if c.Name == "" {
		return c, errors.New("the case has no name")
	}
	if c.Expect.Decision != "allow" && c.Expect.Decision != "deny" {
		return c, errors.New("expect.decision must be allow or deny")
	}
	return c, c.prepare()
}

// prepare fills the defaults and builds the query.
func (c *Case) prepare() error {
	if c.Time.IsZero() {
		c.Time = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	}
	if c.Action == "" {
		c.Action = engine.ActionCallTool
	}
	grant, err := c.grant()
	if err != nil {
		return err
	}
	args, err := jsonOf(&c.Args)
	if err != nil {
		return err
	}
	resource := engine.Entity{Type: c.Resource.Type, ID: c.Resource.ID, Owner: c.Resource.Owner}
	if resource.Type == "" {
		resource = engine.Entity{Type: string(engine.TypeTool), ID: c.Tool}
	}
	c.query = &engine.Query{Grant: grant, Action: c.Action, Resource: resource, Time: c.Time, Tool: c.Tool, Arguments: args, Session: c.Session}
	return nil
}

func (c *Case) grant() (identity.Grant, error) {
	var p identity.Principal
	if c.Workload != "" {
		p.Workload = &identity.Workload{ID: c.Workload, Tenant: c.tenant(c.Tenant), Scopes: identity.NewScopes(c.Scopes...), NotAfter: c.Time.Add(time.Hour)}
	}
	if u := c.User; u != nil {
		p.User = &identity.User{
			Issuer: "https://idp.test", Subject: u.Subject, Tenant: c.tenant(u.Tenant), Roles: u.Roles,
			Scopes: identity.NewScopes(u.Scopes...), ACR: u.ACR, Expires: c.Time.Add(time.Hour),
		}
		if u.AuthAge > 0 {
			p.User.AuthTime = c.Time.Add(-u.AuthAge)
		}
	}
	if p.Subject() == "" || p.Tenant() == "" {
		return identity.Grant{}, errors.New("the case needs a user with subject and tenant, or a workload with tenant")
	}
	g := identity.Root("grt_test", p, nil, identity.Tier(c.Tier))
	for _, agent := range c.Chain {
		var err error
		if g, err = g.Child(agent, nil, identity.MaxChain); err != nil {
			return g, err
		}
	}
	return g, nil
}

// tenant is the one named or that of the file's directory.
func (c *Case) tenant(named string) string {
	if named == "" && strings.HasPrefix(c.file, "tenants/") {
		return path.Base(path.Dir(c.file))
	}
	return named
}

// jsonOf turns YAML into exact JSON text: numbers keep their digits.
func jsonOf(n *yaml.Node) (json.RawMessage, error) {
	if n.IsZero() {
		return nil, nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		_, err := arguments.Decode([]byte(n.Value))
		return json.RawMessage(n.Value), err
	}
	v, err := valueOf(n)
	if err != nil {
		return nil, err
	}
	return arguments.Encode(v)
}

func valueOf(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := valueOf(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = v
		}
		return m, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := valueOf(item)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.ScalarNode:
		return scalarOf(n)
	}
	return nil, fmt.Errorf("line %d: args take mappings, lists and plain values only", n.Line)
}

func scalarOf(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			return nil, fmt.Errorf("line %d: %q is not a number in JSON", n.Line, n.Value)
		}
		return json.Number(n.Value), nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!null":
		return nil, nil
	}
	return n.Value, nil
}

func run(e *engine.Engine, c Case) CaseResult {
	r := CaseResult{Case: c, At: fmt.Sprintf("%s:%d", c.file, c.line), Decision: e.Decide(c.query)}
	got := "deny"
	if r.Decision.Allow {
		got = "allow"
	}
	r.compare("decision", got, c.Expect.Decision)
	if c.Expect.Reason != "" {
		r.compare("reason", r.Decision.Reason, c.Expect.Reason)
	}
	if c.Expect.Duties != nil {
		r.compareLists("duties", dutyTexts(r.Decision.Duties), *c.Expect.Duties)
	}
	if c.Expect.Policies != nil {
		r.compareLists("policies", r.Decision.PolicyIDs, *c.Expect.Policies)
	}
	return r
}

func dutyTexts(duties []engine.Duty) []string {
	var texts []string
	for _, d := range duties {
		texts = append(texts, d.Kind+"("+d.Text+")")
	}
	return texts
}

func (r *CaseResult) compare(what, got, want string) {
	if got == want {
		return
	}
	text := fmt.Sprintf("%s: got %s, want %s", what, got, want)
	if what == "decision" && r.Decision.Reason != "" {
		text += " (" + r.Decision.Reason + by(r.Decision.PolicyIDs) + ")"
	}
	if r.Decision.Err != nil {
		text += ": " + r.Decision.Err.Error()
	}
	r.Failures = append(r.Failures, text)
}

func by(policies []string) string {
	if len(policies) == 0 {
		return ": no policy permits it"
	}
	return " by " + strings.Join(policies, ", ")
}

func (r *CaseResult) compareLists(what string, got, want []string) {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	r.compare(what, strings.Join(got, ", "), strings.Join(want, ", "))
}
