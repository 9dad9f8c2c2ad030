package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/internal/whole"
	"github.com/behalf-dev/behalf/store"
	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// explain says an error the way a tired person needs it: what happened, why,
// and what to type next.
func explain(err error) string {
	s, ok := status.FromError(err)
	if !ok {
		return "behalf: " + err.Error()
	}
	text := "behalf: " + clean(s.Message())
	if id := wrongID(s); id != "" {
		text = "behalf: " + id
	}
	known := false
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if known = d.GetDomain() == fault.Domain; known {
				text += refusal(d, s.Message())
			}
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				if strings.Contains(s.Message(), f.GetDescription()) || notIDs[f.GetField()] != "" {
					continue // it is said already
				}
				text += fmt.Sprintf("\n  field     %s: %s", clean(f.GetField()), clean(f.GetDescription()))
			}
		}
	}
	if !known && s.Code() == codes.Unavailable {
		return "behalf: " + unreachable(s.Message())
	}
	return text
}

// hints say what to type for the reasons that a newcomer meets.
var hints = map[string]string{ //nolint:gosec // names of reasons are not credentials
	"CREDENTIAL_REQUIRED": "say for whom: --as PERSON with `behalf dev`, else --token or BEHALF_TOKEN",
	"CREDENTIAL_INVALID":  "with `behalf dev` use --as PERSON; else get a new token from your identity provider",
	"CREDENTIAL_EXPIRED":  "with `behalf dev` use --as PERSON; else get a new token from your identity provider",
	"POLICY_DENIED":       "who may read the audit log sees which policy it was: `behalf audit query --call DECISION`",
	"RATE_LIMITED":        "who may read the audit log sees which policy it was: `behalf audit query --call DECISION`",
	"PRINCIPAL_LOCKED":    "who may list locks sees which it is, and why: `behalf locks`",
	"SESSION_BUSY":        "`behalf chat TARGET --session SESSION` follows the run and answers what it asks; `behalf runs cancel RUN` ends it",
	"POLICY_ERROR":        "`behalf policy check -c FILE` on the server's machine names the policy, its file and line",
	"APPROVAL_CONSUMED":   "`behalf approvals show APPROVAL` says who decided what",
	"NOT_FOUND":           "`behalf agents`, `behalf chats`, `behalf sessions` and `behalf runs` list what there is for you",
}

// lists are the commands that list the things that a NOT_FOUND may be about.
var lists = []string{"agent", "approval", "key", "lock", "run", "session", "tool"}

// hint is what to type after a refusal; a thing that is not there has a list of its own.
func hint(reason, message string) string {
	kind, found := strings.CutPrefix(message, "there is no such ")
	kind, _, _ = strings.Cut(kind, ";")
	if reason == "NOT_FOUND" && found && slices.Contains(lists, kind) {
		return "`behalf " + kind + "s` lists those that there are for you"
	}
	return hints[reason]
}

// notIDs say what is wrong with an id that cannot be one.
var notIDs = map[string]string{
	"session_id":  "that does not look like a session id; `behalf sessions` lists yours",
	"run_id":      "that does not look like a run id; `behalf runs` lists yours",
	"approval_id": "that does not look like an approval's id; `behalf approvals` lists those that wait",
	"target.user": "a person is named TENANT/SUBJECT, e.g. acme/alice; `behalf audit query --user SUBJECT` shows who acted",
}

// wrongID is what to say instead of the pattern that an id does not match.
func wrongID(s *status.Status) string {
	for _, d := range s.Details() {
		bad, _ := d.(*errdetails.BadRequest)
		for _, f := range bad.GetFieldViolations() {
			if text := notIDs[f.GetField()]; text != "" {
				return named(text)
			}
		}
	}
	return ""
}

// named puts the name that this program was started by into a hint.
func named(hint string) string { return strings.ReplaceAll(hint, "`behalf ", "`"+self()+" ") }

// nobodyNamed is said where a person was most likely meant.
const nobodyNamed = "nobody was named, so the program spoke for itself: --as PERSON or --token says for whom"

// unnamed reports whether a command that takes a person was given none.
func unnamed(c *cobra.Command) bool {
	as, token := c.Flags().Lookup("as"), c.Flags().Lookup("token")
	return as != nil && !as.Changed && token != nil && !token.Changed && os.Getenv("BEHALF_TOKEN") == ""
}

// forWhom reminds of the person, whom a refused call most often lacks.
func forWhom(c *cobra.Command, err error) string {
	if status.Code(err) != codes.PermissionDenied || !unnamed(c) {
		return ""
	}
	return "\n  note      " + nobodyNamed
}

var readsRecord = regexp.MustCompile("audit query --call [^`]+")

// here completes the commands of a hint for a folder of dev: which folder it is, and
// who there may read the record.
func here(c *cobra.Command, text string) string {
	as, dir := c.Flags().Lookup("as"), c.Flags().Lookup("dir")
	if as == nil || dir == nil {
		return text
	}
	in := (&clientFlags{dir: dir.Value.String()}).where()
	text = strings.ReplaceAll(text, "start one with `"+self()+" dev`", "start one with `"+self()+" dev"+in+"`")
	if reader := readerIn(dir.Value.String()); as.Changed && reader != "" {
		text = readsRecord.ReplaceAllString(text, "$0 --as "+quoted(reader)+in)
	}
	return text
}

// readerIn is who may read the record with the people of a folder; empty: nobody known.
func readerIn(dir string) string {
	p, err := (&clientFlags{dir: dir}).profile()
	if err != nil {
		return ""
	}
	all, err := readPeople(p.People)
	if err != nil {
		return ""
	}
	return all.auditor()
}

func refusal(d *errdetails.ErrorInfo, message string) string {
	text := "\n  reason    " + clean(d.GetReason())
	for _, m := range []struct{ key, label string }{{"tool", "tool"}, {"missing_scope", "scope"}, {"decision_id", "decision"}, {"run_id", "run"}, {"session_id", "session"}, {"request_id", "request"}} {
		if v := d.GetMetadata()[m.key]; v != "" {
			text += fmt.Sprintf("\n  %-9s %s", m.label, clean(v))
		}
	}
	id, h := d.GetMetadata()["decision_id"], hint(d.GetReason(), message)
	if h != "" && (id != "" || !strings.Contains(h, "DECISION")) {
		text += "\n  next      " + named(strings.ReplaceAll(h, "DECISION", clean(id)))
	}
	return text
}

var (
	dialed    = regexp.MustCompile(`dial tcp (\S+): (.*?)"?$`)
	transport = regexp.MustCompile(`^connection error: desc = "transport: (?:authentication handshake failed: )?(.*)"$`)
)

// unreachable explains a connection that did not come about.
func unreachable(message string) string {
	next := fmt.Sprintf("\n  next      start one with `%s dev`, or name another with --addr", self())
	if m := dialed.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("no server answers on %s (%s)%s", clean(m[1]), clean(m[2]), next)
	}
	if strings.Contains(message, "handshake") || strings.Contains(message, "tls:") {
		next = "\n  next      the certificates of both sides must fit: with `behalf dev` use the --dir it was started with; else check --cert, --bundle and --server"
	}
	cause := strings.ReplaceAll(transport.ReplaceAllString(message, "$1"), `\"`, `"`)
	return "the connection to the server failed: " + clean(cause) + next
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// started explains why a server could not begin. What other programs hold is
// not wrong input; all else is what the config or the folder says.
func started(err error, listen, dir string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w\n  next      use the server that is there, or stop it, or start this one elsewhere with %s", err, listen)
	case errors.Is(err, store.ErrInUse), errors.Is(err, whole.ErrHeld):
		return fmt.Errorf("%w\n  next      a server already runs in this folder: use it, or stop it (Ctrl-C in its terminal), or give %s", err, dir)
	}
	return wrongInput(err)
}

func trimmed(s string) string { return strings.TrimSpace(s) }
