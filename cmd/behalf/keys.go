package main

import (
	"strings"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

const operatorsOnly = "\n\nNeeds a person of server.operator_tenant whom a policy permits "

func keysCommand() *cobra.Command {
	list := listKeys("list", cobra.NoArgs)
	c := group("keys", "List, rotate and revoke the keys that call tokens are signed with", list, keyRotateCommand(), keyRevokeCommand())
	alone := listKeys("keys", c.Args)
	c.RunE, c.Args = alone.RunE, alone.Args
	c.Flags().AddFlagSet(alone.Flags())
	c.Long = "Each call to a tool's backend carries a token; these keys sign it, and the backend knows them from /.well-known/jwks.json.\n" +
		"Without a subcommand it lists them." + operatorsOnly + "list_signing_keys."
	c.Example = "  behalf keys --as bob\n  behalf keys rotate --as bob"
	return c
}

func listKeys(use string, args cobra.PositionalArgs) *cobra.Command {
	c := lookAt(use, "List the keys that call tokens are signed with", args,
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListSigningKeysResponse, error) {
			return behalfv1.NewAdminServiceClient(conn).ListSigningKeys(c.Context(), &behalfv1.ListSigningKeysRequest{})
		},
		func(r *behalfv1.ListSigningKeysResponse) [][]string { return keyRows(r.GetKeys()) })
	c.Long = "Lists the keys of call tokens: a next key is published and does not sign yet, the current one signs, a retired one is\npublished until its tokens have ended." + operatorsOnly + "list_signing_keys."
	return c
}

func keyRotateCommand() *cobra.Command {
	c := look("rotate", "Publish the next key, which signs from 5 minutes later on",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.RotateSigningKeyResponse, error) {
			return behalfv1.NewAdminServiceClient(conn).RotateSigningKey(c.Context(), &behalfv1.RotateSigningKeyRequest{})
		},
		func(r *behalfv1.RotateSigningKeyResponse) [][]string {
			return keyRows([]*behalfv1.SigningKey{r.GetNext()})
		})
	c.Long = "Publishes the next key, which signs from 5 minutes later on, when every backend has it; no call fails by it. It happens by\nitself every call_tokens.rotate (24 h). While there is a next key already, it shows that one.\n\n" +
		"If somebody may have the key that signs now, revoke it instead." + operatorsOnly + "rotate_signing_key."
	c.Example = "  behalf keys rotate --as bob"
	return c
}

func keyRevokeCommand() *cobra.Command {
	var reason string
	c := lookAt("revoke KID", "Remove a key at once, that somebody else may have", cobra.ExactArgs(1),
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.RevokeSigningKeyResponse, error) {
			return behalfv1.NewAdminServiceClient(conn).RevokeSigningKey(c.Context(), &behalfv1.RevokeSigningKeyRequest{KeyId: c.Flags().Arg(0), Reason: reason})
		},
		func(r *behalfv1.RevokeSigningKeyResponse) [][]string { return keyRows(r.GetKeys()) })
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	c.Long = "Removes a key at once, and shows those that are left. If it was the current one, a new one signs from now on.\n\n" +
		"A backend accepts the revoked key until it reads the key set again: when it meets the new key, after 5 minutes at most, or up\n" +
		"to 15 if it cannot reach this server meanwhile. Calls in flight may be refused by their backends; docs/operating.md says which.\n" +
		"If the file of keys was stolen, revoke each of them." + operatorsOnly + "revoke_signing_key."
	c.Example = "  behalf keys revoke \"$(behalf keys --as bob | awk '/current/ {print $1}')\" --reason 'stolen backup' --as bob"
	return c
}

func keyRows(keys []*behalfv1.SigningKey) [][]string {
	rows := [][]string{{"KEY", "STATE", "SIGNS FROM", "UNTIL"}}
	for _, k := range keys {
		rows = append(rows, []string{
			k.GetKeyId(), strings.ToLower(word(k.GetState().String(), "SIGNING_KEY_STATE_")),
			k.GetSignsFrom().AsTime().Local().Format(time.DateTime), k.GetSignsUntil().AsTime().Local().Format(time.DateTime),
		})
	}
	return rows
}
