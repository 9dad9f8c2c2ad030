package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/behalf-dev/behalf/tools/mcptool"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lookWithin is how long one MCP server may take to say what it has.
const lookWithin = 30 * time.Second

func reviewCommand() *cobra.Command {
	of, asJSON := configOrDev{}, false
	c := &cobra.Command{
		Use: "review [TOOLSET[/TOOL]...]", Short: "Show the tools of MCP servers that wait to be accepted; needs no server", Args: cobra.ArbitraryArgs,
		Long: "Connects to the MCP servers of a config file as the service does, and shows of each tool that is not in use all that a model\n" +
			"would read of it, or what has changed since it was accepted. Calls no tool and writes nothing but what a dev authority\n" +
			"keeps of itself. What a server says is behind a |; characters that would not be seen are written as \\u{number}.",
		Example: "  behalf tools review -c behalf.yaml\n  behalf tools review -c behalf.yaml wiki/get_page\n  behalf tools review --dir .behalf",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := of.reviewer()
			if err != nil {
				return err
			}
			waiting, err := r.waiting(c.Context(), args)
			if asJSON {
				return errors.Join(json.NewEncoder(&plain{c.OutOrStdout()}).Encode(waiting), err)
			}
			r.show(c.OutOrStdout(), waiting, err == nil)
			return err
		},
	}
	of.bind(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON document")
	return c
}

func acceptCommand() *cobra.Command {
	of, all := configOrDev{}, false
	c := &cobra.Command{
		Use: "accept TOOLSET/TOOL HASH", Short: "Take a tool of an MCP server into use as you have read it; needs no server", Args: cobra.ArbitraryArgs,
		Long: "Takes a tool into use as `behalf tools review` has shown it: the hash says what you have read, and a definition that is\n" +
			"another one by now is refused. Writes the file that the toolset's mcp.pins names, which belongs beside the config.",
		Example: "  behalf tools accept -c behalf.yaml wiki/get_page 63b62aa554f92867863e3183a9daaf4363b62aa554f92867863e3183a9daaf43\n  behalf tools accept -c behalf.yaml --all wiki",
		RunE: func(c *cobra.Command, args []string) error {
			if !all && (len(args) != 2 || !strings.Contains(args[0], "/") || args[1] == "") { // no hash is any
				return misused(c, errors.New("it needs TOOLSET/TOOL and the HASH that `behalf tools review` shows"))
			}
			r, err := of.reviewer()
			if err != nil {
				return err
			}
			if all {
				return r.acceptAll(c.Context(), c.OutOrStdout(), args)
			}
			return r.accept(c.Context(), c.OutOrStdout(), args[0], args[1])
		},
	}
	of.bind(c)
	c.Flags().BoolVar(&all, "all", false, "whatever waits, of all toolsets or those that are named, read or not")
	return c
}

// configOrDev says whose MCP servers are meant: those of a config file, or of a folder
// of `behalf dev`, which brings the identity that its servers know.
type configOrDev struct{ file, dir string }

func (of *configOrDev) bind(c *cobra.Command) {
	configFlag(c, &of.file)
	c.Flags().StringVar(&of.dir, "dir", "", "folder of behalf dev, instead of a config file: its config, as its server")
	c.MarkFlagsMutuallyExclusive("config", "dir")
}

// reviewer looks at the MCP servers of a config.
type reviewer struct {
	file    string
	again   string // the flags that mean the same servers
	cfg     *config.Config
	options []behalf.Option
}

// waitingTool is a tool that is not in use as its server has it.
type waitingTool struct {
	Toolset string
	mcptool.Offer
}

func (of *configOrDev) reviewer() (*reviewer, error) {
	if of.dir != "" {
		return devReviewer(of.dir)
	}
	cfg, err := loadServers(of.file, nil)
	if err != nil {
		return nil, err
	}
	return &reviewer{of.file, "-c " + quoted(near(of.file)), cfg, silent(nil)}, nil
}

func silent(options []behalf.Option) []behalf.Option {
	return append(options, behalf.WithLogger(slog.New(slog.DiscardHandler)))
}

// devReviewer looks as the server of dir does, at the same servers.
func devReviewer(dir string) (*reviewer, error) {
	file := filepath.Join(dir, "desk", "behalf.yaml")
	if _, err := os.Stat(file); err != nil {
		return nil, wrongInput(fmt.Errorf("there is no %s\n  next      start `%s dev --dir %s` once, or name a config with -c", file, self(), quoted(dir)))
	}
	f := clientFlags{dir: dir}
	p, err := f.profile()
	if err != nil {
		return nil, err
	}
	l, err := localOf(dir, "supportdesk", loadServers)
	if err != nil {
		return nil, err
	}
	for _, t := range l.cfg.Tools {
		if p.Handbook != "" && isHandbook(t) {
			t.MCP.URL = p.Handbook
		}
	}
	options, err := l.options()
	return &reviewer{file, "--dir " + quoted(dir), l.cfg, silent(options)}, err
}

// server connects to a toolset and reads its list.
func (r *reviewer) server(ctx context.Context, toolset string) (*mcptool.Source, error) {
	if t, ok := r.cfg.Tools[toolset]; !ok || t.MCP == nil {
		return nil, wrongInput(fmt.Errorf("%s has no MCP server %q under tools%s", near(r.file), toolset, typo.DidYouMean(toolset, r.toolsets())))
	}
	if r.mute(toolset) {
		return nil, wrongInput(fmt.Errorf("tools.%s names a server_id, and %s has no identity.workload to show it who asks\n  next      for a config of `%[3]s dev` name its folder instead: %[3]s tools review --dir %[4]s", toolset, near(r.file), self(), devFolder(r.file)))
	}
	s, err := behalf.ToolServer(ctx, r.cfg, toolset, r.options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if err := s.Look(ctx); err != nil {
		return nil, fmt.Errorf("the MCP server %s does not say what tools it has: %s", toolset, clean(err.Error()))
	}
	return s, nil
}

// devFolder is the folder of dev that a config is in; DIR: in none.
func devFolder(file string) string {
	desk := filepath.Dir(file)
	dir := filepath.Dir(desk)
	if _, err := os.Stat(filepath.Join(dir, profileName)); err != nil || filepath.Base(desk) != "desk" {
		return "DIR"
	}
	return quoted(near(dir))
}

// mute reports that a server wants to know who asks, and the config has no identity.
func (r *reviewer) mute(toolset string) bool {
	return strings.HasPrefix(r.again, "-c") && r.cfg.Tools[toolset].MCP.ServerID != "" && r.cfg.Identity.Workload.Source == ""
}

func (r *reviewer) toolsets() []string { return mcpServers(r.cfg) }

func mcpServers(cfg *config.Config) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Tools)) {
		if cfg.Tools[name].MCP != nil {
			names = append(names, name)
		}
	}
	return names
}

// waiting are the tools that wait, of all servers or of what is named: toolset, or
// toolset/tool. A server that is away does not hide those of others.
func (r *reviewer) waiting(ctx context.Context, named []string) (out []waitingTool, err error) {
	if len(named) == 0 {
		named = r.toolsets()
	}
	out = []waitingTool{}
	var problems []error
	for _, name := range named {
		set, tool, one := strings.Cut(name, "/")
		s, err := r.server(ctx, set)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if names := s.Listed(); one && !slices.Contains(names, tool) {
			problems = append(problems, wrongInput(fmt.Errorf("%s: the server has no such tool now%s", clean(name), typo.DidYouMean(tool, names))))
			continue
		}
		for _, o := range s.Offers() {
			if !one || tool == o.Tool || tool == o.Own {
				out = append(out, waitingTool{set, o})
			}
		}
	}
	return out, errors.Join(problems...)
}

func (r *reviewer) accept(ctx context.Context, out io.Writer, name, hash string) error {
	set, tool, _ := strings.Cut(name, "/")
	s, err := r.server(ctx, set)
	if err != nil {
		return err
	}
	if err := s.Accept(tool, hash); status.Code(err) == codes.NotFound {
		return wrongInput(fmt.Errorf("%s: %s%s", clean(name), clean(status.Convert(err).Message()), typo.DidYouMean(tool, s.Listed()))) // no list of the service has it
	} else if err != nil {
		return err
	}
	fmt.Fprintf(out, "accepted %s in %s\n", clean(name), near(r.cfg.Tools[set].MCP.Pins))
	return nil
}

func (r *reviewer) acceptAll(ctx context.Context, out io.Writer, named []string) error {
	if len(named) == 0 {
		named = r.toolsets()
	}
	for _, set := range named {
		s, err := r.server(ctx, set)
		if err != nil {
			return err
		}
		for _, o := range s.Offers() {
			if o.Flaw != "" {
				fmt.Fprintf(out, "left    %s/%s: %s\n", set, called(o), o.Flaw)
				continue
			}
			if err := s.Accept(o.Tool, o.Hash); err != nil {
				return err
			}
			fmt.Fprintf(out, "accepted %s/%s as %s\n", set, o.Tool, o.Hash)
		}
	}
	return nil
}

// called is the name of a tool, which may be able to have none here.
func called(o mcptool.Offer) string {
	if o.Tool != "" {
		return o.Tool
	}
	return o.Own
}

func (r *reviewer) show(out io.Writer, waiting []waitingTool, complete bool) {
	if len(waiting) == 0 && complete {
		fmt.Fprintln(out, "nothing waits: every tool that is listed is in use as it was accepted")
	}
	p := paintFor(out)
	for _, w := range waiting {
		what := "new"
		if w.Changed {
			what = "CHANGED since it was accepted"
		}
		fmt.Fprintf(out, "%s, which the server calls %q: %s\n", p.bold(w.Toolset+"/"+called(w.Offer)), w.Own, what)
		for _, part := range w.Parts {
			showPart(out, p, part, w.Changed)
		}
		if w.Flaw != "" {
			fmt.Fprintf(out, "  %s %s\n\n", p.bad("cannot be accepted:"), w.Flaw)
			continue
		}
		fmt.Fprintf(out, "  accept it: %s tools accept %s %s/%s %s\n\n", self(), r.again, w.Toolset, w.Tool, w.Hash)
	}
}

// showPart shows a part that is new, or between which lines it has changed.
func showPart(out io.Writer, p paint, part mcptool.Part, changed bool) {
	if len(part.Is) == 0 && len(part.Was) == 0 {
		return
	}
	if changed && slices.Equal(part.Is, part.Was) {
		fmt.Fprintf(out, "  %s: as it was\n", part.Name)
		return
	}
	fmt.Fprintf(out, "  %s\n", part.Name)
	if !changed {
		showLines(out, part.Is, "    | ", p.dim)
		return
	}
	head := 0
	for head < min(len(part.Is), len(part.Was)) && part.Is[head] == part.Was[head] {
		head++
	}
	tail := 0
	for tail < min(len(part.Is), len(part.Was))-head && part.Is[len(part.Is)-1-tail] == part.Was[len(part.Was)-1-tail] {
		tail++
	}
	showLines(out, part.Is[:head], "    | ", p.dim)
	showLines(out, part.Was[head:len(part.Was)-tail], "  - | ", p.bad)
	showLines(out, part.Is[head:len(part.Is)-tail], "  + | ", p.good)
	showLines(out, part.Is[len(part.Is)-tail:], "    | ", p.dim)
}

func showLines(out io.Writer, lines []string, before string, colour func(string) string) {
	for _, line := range lines {
		fmt.Fprintln(out, colour(strings.TrimRight(before+line, " ")))
	}
}
