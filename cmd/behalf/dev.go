package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/spf13/cobra"
)

func devCommand() *cobra.Command {
	dir, listen, http, example, verbose, beside := ".behalf", "127.0.0.1:8443", "127.0.0.1:8080", "supportdesk", false, true
	c := &cobra.Command{
		Use: "dev", Short: "Start the support desk with a local authority and issuer, and stay up", Args: cobra.NoArgs,
		Long: `Starts the support desk and stays up. Credentials, people, policies and data are in the folder given with --dir.

Edit the policies, agents or rules in DIR/desk and run "behalf reload --as bob". Commands with --as read people.yaml there each time.
Delete the folder to begin anew. The authority and the issuer exist only here: never use them elsewhere.`,
		Example: "  behalf dev\n  behalf dev --listen 127.0.0.1:0 --http '' --dir /tmp/desk\n  behalf dev --example teams --dir .behalf-teams",
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("example") {
				if err := notMixed(dir, example); err != nil {
					return err
				}
			}
			l, err := newLocal(dir, example)
			if err != nil {
				return err
			}
			l.log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: logLevel(verbose)}))
			l.useModel(os.Getenv)
			if onTerminal(c.OutOrStdout()) {
				l.pace = pace
			}
			if err := l.listen(c, listen, http); err != nil {
				return err
			}
			l.elsewhere, l.beside.out = !beside, c.OutOrStdout()
			err = l.serve(c.Context(), func(s *behalf.Server) error {
				if err := l.save(s); err != nil {
					return err
				}
				l.greet(c.OutOrStdout(), s, dir)
				return nil
			})
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "\nstopped; the next `%s dev%s` goes on where this one ended\n", self(), inDir(dir))
			}
			return started(err, "--listen 127.0.0.1:0 and --http 127.0.0.1:0 (any free port)", "another --dir")
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "folder for credentials, data and the editable desk")
	c.Flags().StringVar(&listen, "listen", listen, "address of gRPC; port 0: any that is free. Left out: server.listen of the config, if it says one")
	c.Flags().StringVar(&http, "http", http, "address of health, metrics and keys; empty: none, or any that is free if backends need the keys. Left out: server.http of the config, if it says one")
	c.Flags().BoolVar(&beside, "backends", beside, "start the example's backends too; false: they run elsewhere, where the config says")
	c.Flags().StringVar(&example, "example", example, "what a new folder begins with: supportdesk or teams (four group chats)")
	c.Flags().BoolVar(&verbose, "verbose", verbose, "log every call, not only what went wrong")
	c.AddCommand(devCertCommand())
	return c
}

// listen takes the addresses of the flags; where none is given the config's, and
// where that has none either what the flags say by themselves.
func (l *local) listen(c *cobra.Command, grpc, http string) error {
	at := &l.cfg.Server
	if c.Flags().Changed("listen") || at.Listen == "" {
		at.Listen = grpc
	}
	if c.Flags().Changed("http") || at.HTTP == "" {
		at.HTTP = http
	}
	return onlyHere(at.Listen, at.HTTP)
}

// onlyHere refuses addresses that others can reach: whoever holds the folder is
// anybody they like, and the issuer asks for no password (SECURITY 3.10).
func onlyHere(addresses ...string) error {
	for _, a := range addresses {
		if a == "" {
			continue
		}
		host, _, err := net.SplitHostPort(a)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return wrongInput(fmt.Errorf("%q is not an address of this machine alone, and dev serves no other: say 127.0.0.1:PORT", a))
		}
	}
	return nil
}

func logLevel(verbose bool) slog.Level {
	if verbose {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// serve runs the local server until ctx ends, and what is behind its tools for as
// long as it needs them; up is called when it listens.
func (l *local) serve(ctx context.Context, up func(*behalf.Server) error) error {
	options, err := l.options()
	if err != nil {
		return err
	}
	if err := l.beside.open(ctx, l.elsewhere); err != nil {
		return err
	}
	if l.cfg.Server.HTTP == "" && l.beside.needed() {
		l.cfg.Server.HTTP = "127.0.0.1:0" // the backends fetch the keys of call tokens there
	}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	ctx, lost := context.WithCancel(ctx)
	defer lost()
	keys, done := make(chan string, 1), make(chan error, 1)
	go func() { // ends with stop, after the server, and is waited for below
		defer lost()
		done <- l.beside.serve(own, keys)
	}()
	err = l.serveAlone(ctx, options, func(s *behalf.Server) error {
		keys <- s.HTTPAddr()
		return up(s)
	})
	stop()
	return errors.Join(err, <-done)
}

func (l *local) serveAlone(ctx context.Context, options []behalf.Option, up func(*behalf.Server) error) error {
	s, err := behalf.New(ctx, l.cfg, options...)
	if err != nil {
		return err
	}
	if err := up(s); err != nil {
		return err
	}
	return s.Run(ctx)
}

// greet prints what to type next. Each command is one line that can be pasted
// as it is, in this folder.
func (l *local) greet(out io.Writer, s *behalf.Server, dir string) {
	p := paintFor(out)
	_, port, _ := net.SplitHostPort(s.Addr())
	in, at := inDir(dir), filepath.Clean(dir)
	me, files, first := self(), quoted(at), l.first()
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("%s gRPC with mutual TLS on %s\n", p.bold("behalf dev is up:"), s.Addr())
	say("  people   %s", l.people.withRoles())
	say("  model    %s", l.model)
	if s.HTTPAddr() != "" {
		say("  http     http://%[1]s/healthz and http://%[1]s/metrics", s.HTTPAddr())
	}
	if s.HTTPAddr() != "" && l.cfg.Server.MCP {
		say("  mcp      http://%s/mcp for MCP clients, with a person's token: %s token %s%s", s.HTTPAddr(), me, quoted(l.people.People[0].Subject), in)
	}
	l.beside.say(out)
	l.beside.sayElsewhere(out, l.beside.issuer(s.HTTPAddr()), filepath.Clean(dir))
	say("  folder   %s: credentials, data, audit log; %s: agents, policies, people to edit\n", at, filepath.Join(at, "desk"))
	who := l.people.People[0].Subject
	say("%s\n", p.bold("Paste these into another terminal, in this folder. Talk, look at the record, prove it:"))
	for _, t := range l.targets() {
		say("  %s chat %s --as %s%s", me, t.name, quoted(who), in)
	}
	if reader := l.people.auditor(); reader != "" {
		say("  %s audit query --as %s --user %s%s", me, quoted(reader), quoted(who), in)
	}
	say("  %s audit verify%s\n", me, strings.Replace(in, " --dir ", " --store ", 1)+dbSuffix(in))
	say("%s\n", p.bold("The same with grpcurl. The certificate says which program calls, the token for whom:"))
	say("  TOKEN=$(%s token %s%s)", me, quoted(who), in)
	say("  rpc() { %s -cacert %[2]s/ca.pem -cert %[2]s/svid-client.pem -key %[2]s/svid-client.key -H \"authorization: Bearer $TOKEN\" \"$@\"; }", grpcurl(), files)
	say("  rpc localhost:%s list", port)
	say("  rpc localhost:%s behalf.v1.AdminService/WhoAmI", port)
	if first.name != "" {
		say("  rpc -d '%s' localhost:%s %s", l.request(first), port, first.method())
	}
	l.beside.try(out, p, port, dir)
	say("\n%s", p.dim("Ctrl-C stops it. Denied and failed calls are logged here; all calls with --verbose."))
}

// inDir is the flag of commands that mean a folder.
func inDir(dir string) string {
	if dir = filepath.Clean(dir); dir != defaultDir {
		return " --dir " + quoted(dir)
	}
	return ""
}

// targets are what the banner tells to talk with: every group chat, else the
// agent that the file begins with.
func (l *local) targets() []target {
	var all []target
	for _, name := range inFile(l.cfg, "group_chats", l.cfg.GroupChats) {
		all = append(all, target{name, true})
	}
	for _, name := range inFile(l.cfg, "agents", l.cfg.Agents) {
		if len(all) == 0 && l.cfg.Agents[name].Kind != config.KindHuman {
			all = append(all, target{name, false})
		}
	}
	return all
}

func (l *local) first() target {
	if all := l.targets(); len(all) > 0 {
		return all[0]
	}
	return target{}
}

// inFile sorts the names of a section as the file has them.
func inFile[T any](c *config.Config, section string, all map[string]T) []string {
	line := func(name string) int {
		n, _ := c.Position(section + "." + name)
		return n
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(line(a), line(b)), strings.Compare(a, b))
	})
}

// request is a call of t as JSON, with something to say that the desk of the
// examples understands.
func (l *local) request(t target) string {
	text, key := "Hello", "agent"
	for _, tools := range l.cfg.Tools {
		if tools.Builtin == "supportdesk" || isCRM(tools) {
			text = "Please refund order O-5001 of customer C-1001"
		}
	}
	if t.groupChat {
		text, key = "Who is customer C-1001?", "group_chat"
	}
	return fmt.Sprintf(`{"%s":"%s","input":"%s"}`, key, t.name, text)
}

// method is the RPC that runs t.
func (t target) method() string {
	if t.groupChat {
		return "behalf.v1.GroupChatService/RunGroupChat"
	}
	return "behalf.v1.AgentService/RunAgent"
}

func dbSuffix(in string) string {
	if in == "" {
		return ""
	}
	return "/behalf.db"
}

// grpcurl is the pinned one in the repository's folder, else the installed one.
func grpcurl() string {
	if _, err := os.Stat("tools.mod"); err == nil {
		return "go tool -modfile=tools.mod grpcurl"
	}
	return "grpcurl"
}

// quoted is a path for a shell.
func quoted(path string) string {
	if strings.ContainsAny(path, " '\"$&;()<>|*?[]\\`") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}
