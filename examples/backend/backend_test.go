package backend_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
)

func TestWhoNamesAgentsAndNotTheService(t *testing.T) {
	agents := []calltoken.Actor{{Subject: "triage", Profile: "agent"}, {Subject: "billing", Profile: "agent"}}
	for want, c := range map[string]calltoken.Claims{
		"alice through triage›billing": {Subject: "alice", Actor: calltoken.Chain("spiffe://corp.example/behalf", agents)},
		"alice directly":               {Subject: "alice", Actor: calltoken.Chain("spiffe://corp.example/behalf", nil)},
		"bob directly":                 {Subject: "bob"},
	} {
		if got := backend.Who(&c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNobodyWritesALineOfTheirOwn(t *testing.T) {
	var out bytes.Buffer
	log := backend.NewLog(&out, "crm").With(slog.String("always", "a\x1b[2J"))

	log.Info("get_customer for eve\ncrm: get_customer for alice", slog.String("customer", "x\ncrm: all is well"))
	log.Debug("not said")

	want := `crm: "get_customer for eve\ncrm: get_customer for alice", always "a\x1b[2J", customer "x\ncrm: all is well"` + "\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
