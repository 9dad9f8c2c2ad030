package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/spf13/cobra"
)

func devCommand() *cobra.Command {
	dir, listen, http, example, verbose := ".behalf", "127.0.0.1:8443", "127.0.0.1:8080", "supportdesk", false
	c := &cobra.Command{
		Use: "dev", Short: "Start the support desk with a local authority and issuer, and stay up", Args: cobra.NoArgs,
		Long: `Starts the support desk and stays up. Credentials, people, policies and data are in the folder given with --dir.

Edit DIR/desk/policies and run "behalf reload --as bob", or edit the agents, people or rules in DIR/desk and start again.
Delete the folder to begin anew. The authority and the issuer exist only here: never use them elsewhere.`,
		Example: "  behalf dev\n  behalf dev --listen 127.0.0.1:0 --http '' --dir /tmp/desk\n  behalf dev --example teams --dir .behalf-teams",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := onlyHere(listen, http); err != nil {
				return err
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
			l.cfg.Server.Listen, l.cfg.Server.HTTP = listen, http
			err = l.serve(c.Context(), func(s *behalf.Server) error {
				if err := l.save(s.Addr()); err != nil {
					return err
				}
				l.greet(c.OutOrStdout(), s, dir)
				return nil
			})
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "\nstopped; the next `%s dev` goes on where this one ended\n", self())
			}
			return started(err, "--listen 127.0.0.1:0 (any free port) or --http ''", "another --dir")
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "folder for credentials, data and the editable desk")
	c.Flags().StringVar(&listen, "listen", listen, "address of gRPC; port 0: any that is free")
	c.Flags().StringVar(&http, "http", http, "address of health and metrics; empty: none")
	c.Flags().StringVar(&example, "example", example, "what a new folder begins with: supportdesk or teams (four group chats)")
	c.Flags().BoolVar(&verbose, "verbose", verbose, "log every call, not only what went wrong")
	return c
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

// serve runs the local server until ctx ends; up is called when it listens.
func (l *local) serve(ctx context.Context, up func(*behalf.Server) error) error {
	options, err := l.options()
	if err != nil {
		return err
	}
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
	in, at := "", filepath.Clean(dir)
	if at != ".behalf" {
		in = " --dir " + quoted(at)
	}
	me, files := self(), quoted(at)
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("%s gRPC with mutual TLS on %s\n", p.bold("behalf dev is up:"), s.Addr())
	say("  people   %s", l.people.withRoles())
	say("  model    %s", l.model)
	if s.HTTPAddr() != "" {
		say("  http     http://%[1]s/healthz and http://%[1]s/metrics", s.HTTPAddr())
	}
	say("  folder   %s: credentials, data, audit log; %s: agents, policies, people to edit\n", at, filepath.Join(at, "desk"))
	say("%s\n", p.bold("Paste these into another terminal, in this folder. Talk, look at the record, prove it:"))
	say("  %s chat triage --as alice%s", me, in)
	say("  %s audit query --as carol --user alice%s", me, in)
	say("  %s audit verify%s\n", me, strings.Replace(in, " --dir ", " --store ", 1)+dbSuffix(in))
	say("%s\n", p.bold("The same with grpcurl. The certificate says which program calls, the token for whom:"))
	say("  TOKEN=$(%s token alice%s)", me, in)
	say("  rpc() { %s -cacert %[2]s/ca.pem -cert %[2]s/svid-client.pem -key %[2]s/svid-client.key -H \"authorization: Bearer $TOKEN\" \"$@\"; }", grpcurl(), files)
	say("  rpc localhost:%s list", port)
	say("  rpc localhost:%s behalf.v1.AdminService/WhoAmI", port)
	say("  rpc -d '{\"agent\":\"triage\",\"input\":\"Please refund order O-5001 of customer C-1001\"}' localhost:%s behalf.v1.AgentService/RunAgent\n", port)
	say("%s", p.dim("Ctrl-C stops it. Denied and failed calls are logged here; all calls with --verbose."))
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
