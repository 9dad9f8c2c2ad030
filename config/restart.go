package config

import (
	"reflect"
	"slices"
	"strings"
)

// NeedsRestart lists what next says otherwise than c and a running server cannot
// take: everything but policies, agents, group chats, tools, models, issuers, and the
// grants of workloads, which name issuers.
func (c *Config) NeedsRestart(next *Config) []Problem {
	d := &difference{next: next}
	d.fields("", reflect.ValueOf(*c), reflect.ValueOf(*next))
	return sorted(d.found)
}

// reloaded are the places that a running server takes anew.
func reloaded() []place {
	return []place{"models", "tools", "agents", "group_chats", "policy.dir", "policy.require_coverage", "identity.jwt", "identity.workload.grants"}
}

// difference finds the places where two configs say different things.
type difference struct {
	next  *Config
	found []Problem
}

func (d *difference) fields(p place, was, is reflect.Value) {
	for i := range was.NumField() {
		name := strings.Split(was.Type().Field(i).Tag.Get("yaml"), ",")[0]
		if name == "" { // not of the file
			continue
		}
		at := p.key(name)
		switch a, b := was.Field(i), is.Field(i); {
		case slices.Contains(reloaded(), at), reflect.DeepEqual(a.Interface(), b.Interface()):
		case a.Kind() == reflect.Struct && a.Type() != reflect.TypeFor[Secret]():
			d.fields(at, a, b)
		default:
			d.found = append(d.found, d.next.places.problem(at, "has changed, and needs a restart", "put it back as it was, or restart the server"))
		}
	}
}
