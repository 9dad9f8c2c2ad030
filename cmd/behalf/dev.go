package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/spf13/cobra"
)

func devCommand() *cobra.Command {
	dir, listen := ".behalf", "127.0.0.1:8443"
	c := &cobra.Command{
		Use: "dev", Short: "Start the support desk with a local authority and issuer, and stay up", Args: cobra.NoArgs,
		Long: "Starts the support desk and stays up. Credentials, people, policies and data are in the folder given with --dir;\nedit .behalf/desk and call ReloadConfig, or delete the folder to begin anew.",
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := newLocal(dir)
			if err != nil {
				return err
			}
			model := l.useRealModel(os.Getenv)
			l.cfg.Server.Listen = listen
			return l.serve(c.Context(), func(s *behalf.Server) error {
				if err := l.save(s.Addr()); err != nil {
					return err
				}
				l.greet(c.OutOrStdout(), s, dir, model)
				return nil
			})
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "folder for credentials, data and the editable desk")
	c.Flags().StringVar(&listen, "listen", listen, "address to listen on")
	return c
}

// serve runs the local server until ctx ends; up is called when it listens.
func (l *local) serve(ctx context.Context, up func(*behalf.Server) error) error {
	options, err := l.options()
	if err != nil {
		return err
	}
	s, err := behalf.New(ctx, l.cfg, options...)
	if err != nil {
		return wrongInput(err)
	}
	if err := up(s); err != nil {
		return err
	}
	return s.Run(ctx)
}

func (l *local) greet(out io.Writer, s *behalf.Server, dir, model string) {
	_, port, _ := strings.Cut(s.Addr(), ":")
	call := fmt.Sprintf(`  go tool -modfile=tools.mod grpcurl -cacert %[1]s/ca.pem -cert %[1]s/svid-client.pem -key %[1]s/svid-client.key \
    -H "authorization: Bearer $(go run ./cmd/behalf token alice)" `, dir)
	fmt.Fprintf(out, `behalf dev is up on %s
  people:  %s
  model:   %s
  health and metrics: http://%s

Paste into another terminal, in this folder:

  go run ./cmd/behalf chat triage --as alice
  go run ./cmd/behalf audit query --as carol

%slocalhost:%s list

%s\
    -d '{"agent":"triage","input":"Please refund order O-5001 of customer C-1001"}' \
    localhost:%s behalf.v1.AgentService/RunAgent

Ctrl-C stops it. Everything it knows is in %s.
`, s.Addr(), strings.Join(l.people.names(), ", "), model, s.HTTPAddr(), call, port, call, port, dir)
}
