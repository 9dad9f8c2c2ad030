package policy

import (
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/policy/engine"
	"github.com/behalf-dev/behalf/policy/pii"
	"github.com/behalf-dev/behalf/policy/redact"
)

// Redacted is what stands where a value was taken out.
const Redacted = redact.Mark

// Veils reports whether Shown may be something else than the arguments of a call of
// the tool.
func (g *Guard) Veils(tool string) bool {
	e := g.engine.Load()
	return e == nil || e.Veils(tool)
}

// Shown is what may be shown of the arguments of a call that is still to be
// decided: to the client, to the log and to models. It is what would be sent, or,
// of a call that would be denied, what a record of the denial shows. Nothing is
// recorded.
func (g *Guard) Shown(query *Query) []byte {
	e, q := g.engine.Load(), *query
	if e == nil {
		return []byte(`"` + redact.Mark + `"`)
	}
	r := e.PossibleRedaction(&q)
	if !r.OfArgs() {
		return q.Arguments
	}
	q.Time = g.config.Clock()
	if d := g.decide(e, &q); d.Allow {
		r = e.Redaction(d.Duties)
	}
	view, _, err := r.Args(q.Arguments)
	if err != nil {
		return []byte(`"` + redact.Mark + `"`)
	}
	return view
}

// Speech is what has to be taken out of whatever models say in a run, by the
// duties of the decision on it. The engine that decides now is asked; an error
// says that it does not allow the run any more. Nothing is recorded: the run's own
// decision has its duties.
func (g *Guard) Speech(query *Query) (pii.Set, error) {
	e, q := g.engine.Load(), *query
	if e != nil && !e.Streams(q.Action) {
		return 0, nil
	}
	q.Time = g.config.Clock()
	set, err := g.speechTo(e, &q) // for whoever hears it too
	if by, lent := q.Grant.Speaker(); lent && err == nil {
		q.Grant = by
		_, err = g.speechTo(e, &q)
	}
	return set, err
}

func (g *Guard) speechTo(e *Engine, q *Query) (pii.Set, error) {
	d := g.decide(e, q)
	if !d.Allow {
		return 0, refusal(q, d)
	}
	return e.Redaction(d.Duties).Stream(), nil
}

// SpeechAfter is what the duties of a tool call, as its decision's event has them,
// take out of what models say from then on. Of a duty that cannot be read it is
// everything.
func SpeechAfter(duties []string) (set pii.Set) {
	for _, duty := range duties {
		text, ok := strings.CutPrefix(duty, "@"+engine.KindRedact+"(")
		if !ok || !strings.Contains(text, redact.PlaceStream) {
			continue
		}
		set |= speechOf(strings.TrimSuffix(text, ")"))
	}
	return set
}

func speechOf(quoted string) pii.Set {
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return pii.All
	}
	paths, err := redact.Parse(text)
	if err != nil {
		return pii.All
	}
	r := &redact.Redaction{}
	r.Arm(paths)
	return r.Stream()
}
