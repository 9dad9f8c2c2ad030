package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/policy"
)

// problems is everything that is wrong with a config file and what it names:
// one line each, with its place and what to do.
type problems struct {
	file string
	list []config.Problem
}

func (p *problems) Error() string {
	lines := []string{p.file + ": " + count(int64(len(p.list)), "problem") + "; nothing was started"}
	for _, one := range p.list {
		lines = append(lines, one.String())
	}
	return strings.Join(lines, "\n  ")
}

func (p *problems) add(list ...config.Problem) {
	for _, one := range list {
		one.File = near(one.File)
		if !slices.Contains(p.list, one) {
			p.list = append(p.list, one)
		}
	}
}

// err is nil for no problems. They come in the order in which one reads: the
// config file first, then the others, each from its top.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	other := func(one config.Problem) int {
		if one.File == p.file {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(p.list, func(a, b config.Problem) int {
		return cmp.Or(other(a)-other(b), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return wrongInput(p)
}

// load reads a config file and checks all that can be checked without making or
// starting anything; more, if not nil, is what the command asks or changes
// besides. The error names every problem: those of the file, and those of the
// policies, tools, models, keys and folders that it names. What the file has
// wrong is left out of the rest of the look and hides nothing else.
func load(file string, more func(*config.Config) []config.Problem, extra ...behalf.Option) (*config.Config, []behalf.Option, error) {
	options, err := examples()
	if err != nil {
		return nil, nil, err
	}
	options = append(options, extra...)
	found := &problems{file: near(file)}
	cfg, err := config.Load(file, os.LookupEnv)
	if list, ok := errors.AsType[*config.Problems](err); ok {
		found.add(list.List...)
		cfg = list.Rest
	}
	if cfg != nil && more != nil {
		found.add(more(cfg)...)
	}
	if cfg != nil {
		_, _, err := behalf.Check(cfg, options...)
		found.add(located(err, file, cfg.Position)...)
	}
	if err := found.err(); err != nil {
		return nil, nil, err
	}
	return cfg, options, nil
}

// loadServers reads what a config file says of MCP servers, and of who we are to
// them. Whatever else is wrong is no concern of who wants to read and accept tools:
// it may be wrong because they wait.
func loadServers(file string, more func(*config.Config) []config.Problem) (*config.Config, error) {
	found := &problems{file: near(file)}
	cfg, err := config.Load(file, os.LookupEnv)
	if list, ok := errors.AsType[*config.Problems](err); ok {
		cfg = list.Rest
		found.add(list.In("tools", "identity.workload")...)
		if cfg == nil || len(mcpServers(cfg)) == 0 { // or they are in what is wrong
			found.add(list.List...)
		}
	}
	if cfg != nil && more != nil {
		found.add(more(cfg)...)
	}
	return cfg, found.err()
}

// position finds a config path such as "tools.desk" in its file; 0 if it cannot.
type position func(path string) (line, column int)

// located gives each problem in err, with its place where it is known.
func located(err error, file string, where position) []config.Problem {
	if err == nil {
		return nil
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var list []config.Problem
		for _, one := range several.Unwrap() {
			list = append(list, located(one, file, where)...)
		}
		return list
	}
	if p, ok := errors.AsType[*config.Problems](err); ok {
		return p.List
	}
	if p, ok := errors.AsType[*policy.Problem](err); ok {
		return []config.Problem{{File: p.File, Line: p.Line, Column: p.Column, Message: p.Text}}
	}
	if list := ruleProblems(err.Error()); list != nil {
		return list
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	path, _, _ := strings.Cut(text, ": ")
	line, column := where(path)
	return []config.Problem{{File: file, Line: line, Column: column, Message: text}}
}

var (
	ruleFile = regexp.MustCompile(`(?s)^models\.\S+: demo rules (.+?): (.*)$`)
	ruleLine = regexp.MustCompile(`line (\d+): (.*)`)
)

// ruleProblems turns what the offline model says about its rules into lines
// that an editor can jump to.
func ruleProblems(text string) []config.Problem {
	m := ruleFile.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	var list []config.Problem
	for _, l := range strings.Split(m[2], "\n") {
		one := config.Problem{File: m[1], Message: strings.TrimSpace(l)}
		if at := ruleLine.FindStringSubmatch(l); at != nil {
			if line, err := strconv.Atoi(at[1]); err == nil {
				one.Line, one.Message = line, at[2]
			}
		}
		list = append(list, one)
	}
	return list
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
