package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/behalf-dev/behalf/identity"
	"github.com/spf13/cobra"
)

// ownName is what a backend of somebody's own may be called.
var ownName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// devCertCommand gives a backend on this machine what a platform gives it elsewhere.
func devCertCommand() *cobra.Command {
	dir := defaultDir
	c := &cobra.Command{
		Use:   "cert NAME",
		Short: "Make a certificate of the dev authority for a backend of your own",
		Long: "Makes a certificate and key for spiffe://" + localDomain + "/NAME and localhost, of the authority of a folder of `behalf dev`. A backend\n" +
			"serves with it and asks its clients for one of the same authority. It is good for a day; the same command renews it.\n" +
			"It prints what a verifier of call tokens must be told, too.",
		Example: "  behalf dev cert mine\n  behalf dev cert mine --dir my",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			made, err := certFor(dir, args[0])
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "server_id  spiffe://%s/%s\ncert       %s\nkey        %s\nauthority  %s\n", localDomain, args[0], made.Cert, made.Key, made.Bundle)
			fmt.Fprintf(out, "\nfor the verifier of call tokens\nissuer     %s\naudience   %s, or what else the config says for audience\nclient     spiffe://%s/behalf\n", callIssuer(dir), args[0], localDomain)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "folder that dev wrote its credentials to")
	return c
}

// callIssuer is who signs call tokens here, if it is known who did last.
func callIssuer(dir string) string {
	var p profile
	text, err := os.ReadFile(filepath.Join(dir, profileName))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Calls == "" {
		return "http:// and the address of http of `" + self() + " dev" + inDir(dir) + "`"
	}
	return p.Calls + " (of the dev that was started here last)"
}

func certFor(dir, name string) (made identity.SVIDFiles, err error) {
	if !ownName.MatchString(name) || name == "behalf" || name == "client" {
		return made, wrongInput(fmt.Errorf("%q cannot be a backend's name: it is of a-z, 0-9 and -, and neither behalf nor client, who are others here", name))
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); err != nil {
		return made, wrongInput(fmt.Errorf("there is no authority in %s\n  next      start `%s dev` once, or name the folder that it was started with: --dir", dir, self()))
	}
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: dir, TrustDomain: localDomain})
	if err != nil {
		return made, err
	}
	return ca.Files("/" + name)
}
