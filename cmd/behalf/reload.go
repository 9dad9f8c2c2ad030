package main

import (
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

func reloadCommand() *cobra.Command {
	c := look("reload", "Let the server read its config and policies anew",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ReloadConfigResponse, error) {
			return behalfv1.NewAdminServiceClient(conn).ReloadConfig(c.Context(), &behalfv1.ReloadConfigRequest{})
		},
		func(r *behalfv1.ReloadConfigResponse) [][]string {
			rows := [][]string{{"policies", r.GetPolicyRevision()}, {"config", r.GetConfigRevision()}}
			for _, n := range r.GetNotes() {
				rows = append(rows, []string{"note", n})
			}
			return rows
		})
	c.Long = "Lets the server read its config anew: policies, agents, group chats, tools, models, issuers and the grants of workloads. When\nthis returns, they are in force. If anything is wrong, all stays as it was, and the answer names what and where; so it\ndoes for a change that needs a restart. A backend that is not there holds nothing up: a note says what it lacks.\n\nNeeds a person of server.operator_tenant whom a policy permits reload_config."
	c.Example = "  behalf reload --as bob\n  behalf reload --as bob --json"
	return c
}
