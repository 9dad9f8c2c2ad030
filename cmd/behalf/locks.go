package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// lockKinds are the words for what a lock can stop.
var lockKinds = []string{"user", "workload", "agent", "tool", "session", "tenant", "token", "everything"}

const lockTargets = `What can be locked:
  user TENANT/SUBJECT   a person
  workload SPIFFE-ID    a program, alone or for a person
  agent NAME            an agent or group chat, also where it works for another
  tool NAME             a tool
  session ID            a session
  token ID              one access token, by its jti or thumbprint
  tenant NAME           everybody of a tenant (operators only)
  everything            everybody (operators only)
A lock holds in your own tenant; --all-tenants, for operators, in every one.`

func lockCommand() *cobra.Command {
	var reason, until string
	var lasts time.Duration
	var all bool
	c := lookAt("lock KIND [NAME]", "Stop somebody or something at once", cobra.RangeArgs(1, 2),
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.LockResponse, error) {
			if reason == "" {
				return nil, misused(c, errors.New("say why with --reason; it is kept on record"))
			}
			target, err := targetOf(c.Flags().Args(), all)
			if err != nil {
				return nil, err
			}
			end, err := endOf(until, lasts)
			if err != nil {
				return nil, err
			}
			return behalfv1.NewAdminServiceClient(conn).Lock(c.Context(), &behalfv1.LockRequest{Target: target, Reason: reason, ExpiresAt: end})
		},
		lockedRows)
	c.Flags().StringVar(&reason, "reason", "", "why, for the record and for whoever asks")
	c.Flags().StringVar(&until, "until", "", "when it ends by itself, e.g. 2030-01-31T18:00:00Z")
	c.Flags().DurationVar(&lasts, "for", 0, "how long it lasts, e.g. 2h; without it or --until: until unlock")
	c.Flags().BoolVar(&all, "all-tenants", false, "in every tenant, not only in yours")
	c.Long = "Stops somebody or something at once: calls are refused with PRINCIPAL_LOCKED, open streams and runs end. It stays so over a\nrestart, until `behalf unlock` or its end.\n\n" + lockTargets + "\n\nNeeds a person whom a policy permits lock."
	c.Example = "  behalf lock user acme/alice --reason 'stolen laptop' --as bob\n  behalf lock tool refund_order --reason 'wrong amounts' --for 2h --as bob"
	return c
}

// lockedRows says that the lock is there, and loudly if it may stop nothing.
func lockedRows(r *behalfv1.LockResponse) [][]string {
	rows := lockRows([]*behalfv1.Lock{r.GetLock()})
	if r.GetUnknownName() {
		kind, name := nameOf(r.GetLock().GetTarget())
		rows = append(rows, []string{""}, []string{fmt.Sprintf("CAREFUL: no %s %q is configured, so this stops nothing now. If it is misspelt: behalf unlock %s %s, and lock the right one.", kind, name, kind, name)})
	}
	return rows
}

func unlockCommand() *cobra.Command {
	var reason string
	var all bool
	c := lookAt("unlock KIND [NAME]", "Lift a lock", cobra.RangeArgs(1, 2),
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.UnlockResponse, error) {
			target, err := targetOf(c.Flags().Args(), all)
			if err != nil {
				return nil, err
			}
			return behalfv1.NewAdminServiceClient(conn).Unlock(c.Context(), &behalfv1.UnlockRequest{Target: target, Reason: reason})
		},
		func(*behalfv1.UnlockResponse) [][]string { return [][]string{{"DONE"}, {"the lock is lifted"}} })
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	c.Flags().BoolVar(&all, "all-tenants", false, "the lock that holds in every tenant")
	c.Long = "Lifts a lock. What it ended does not come back. Name the target as `behalf locks` shows it.\n\n" + lockTargets + "\n\nNeeds a person whom a policy permits unlock."
	c.Example = "  behalf unlock user acme/alice --as bob"
	return c
}

func locksCommand() *cobra.Command {
	return look("locks", "List what is locked",
		func(c *cobra.Command, conn *grpc.ClientConn, _ *clientFlags) (*behalfv1.ListLocksResponse, error) {
			return behalfv1.NewAdminServiceClient(conn).ListLocks(c.Context(), &behalfv1.ListLocksRequest{PageSize: 1000})
		},
		func(r *behalfv1.ListLocksResponse) [][]string { return lockRows(r.GetLocks()) })
}

func lockRows(locks []*behalfv1.Lock) [][]string {
	rows := [][]string{{"LOCKED", "NAME", "SINCE", "UNTIL", "BY", "REASON"}}
	for _, l := range locks {
		kind, name := nameOf(l.GetTarget())
		until := "unlock"
		if l.GetExpiresAt() != nil {
			until = l.GetExpiresAt().AsTime().Local().Format(time.DateTime)
		}
		by := "-"
		if u := l.GetCreatedBy(); u != nil {
			by = u.GetTenant() + "/" + u.GetSubject()
		}
		rows = append(rows, []string{kind, name, l.GetCreatedAt().AsTime().Local().Format(time.DateTime), until, by, l.GetReason()})
	}
	return rows
}

// nameOf says a target in the words of the command line.
func nameOf(t *behalfv1.LockTarget) (kind, name string) {
	switch what := t.GetTarget().(type) {
	case *behalfv1.LockTarget_User:
		kind, name = "user", what.User
	case *behalfv1.LockTarget_Workload:
		kind, name = "workload", what.Workload
	case *behalfv1.LockTarget_Agent:
		kind, name = "agent", what.Agent
	case *behalfv1.LockTarget_Tool:
		kind, name = "tool", what.Tool
	case *behalfv1.LockTarget_SessionId:
		kind, name = "session", what.SessionId
	case *behalfv1.LockTarget_TokenId:
		kind, name = "token", what.TokenId
	case *behalfv1.LockTarget_Tenant:
		kind, name = "tenant", what.Tenant
	case *behalfv1.LockTarget_Everything:
		kind, name = "everything", "-"
	}
	if t.GetAllTenants() {
		name += " (all tenants)"
	}
	return kind, name
}

// targetOf reads KIND and NAME.
func targetOf(args []string, all bool) (*behalfv1.LockTarget, error) {
	t := &behalfv1.LockTarget{AllTenants: all}
	kind, name := args[0], ""
	if len(args) > 1 {
		name = args[1]
	}
	switch {
	case !slices.Contains(lockKinds, kind):
		return nil, wrongInput(fmt.Errorf("%q cannot be locked; name one of %s", kind, strings.Join(lockKinds, ", ")))
	case (kind == "everything") == (name != ""):
		return nil, wrongInput(errors.New("say KIND and NAME; only everything has no name"))
	}
	switch kind {
	case "user":
		t.Target = &behalfv1.LockTarget_User{User: name}
	case "workload":
		t.Target = &behalfv1.LockTarget_Workload{Workload: name}
	case "agent":
		t.Target = &behalfv1.LockTarget_Agent{Agent: name}
	case "tool":
		t.Target = &behalfv1.LockTarget_Tool{Tool: name}
	case "session":
		t.Target = &behalfv1.LockTarget_SessionId{SessionId: name}
	case "token":
		t.Target = &behalfv1.LockTarget_TokenId{TokenId: name}
	case "tenant":
		t.Target = &behalfv1.LockTarget_Tenant{Tenant: name}
	case "everything":
		t.Target = &behalfv1.LockTarget_Everything{Everything: true}
	}
	return t, nil
}

// endOf is when a lock ends; nil: when it is lifted.
func endOf(until string, lasts time.Duration) (*timestamppb.Timestamp, error) {
	switch {
	case until != "" && lasts != 0:
		return nil, wrongInput(errors.New("--until and --for both say when it ends; give one"))
	case lasts < 0:
		return nil, wrongInput(errors.New("--for must be more than nothing"))
	case lasts > 0:
		return timestamppb.New(time.Now().Add(lasts)), nil
	case until == "":
		return nil, nil //nolint:nilnil // it has no end
	}
	at, err := time.Parse(time.RFC3339, until)
	if err != nil {
		return nil, wrongInput(fmt.Errorf("--until %q is no time; write it like 2030-01-31T18:00:00Z", until))
	}
	return timestamppb.New(at), nil
}
