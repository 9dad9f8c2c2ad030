package runs_test

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/runs/runstest"
	"github.com/google/go-cmp/cmp"
)

func TestMemoryLog(t *testing.T) {
	runstest.TestLog(t, func(*testing.T) runs.Log { return runs.NewMemory() })
}

func TestJetStreamLog(t *testing.T) {
	runstest.TestLog(t, func(t *testing.T) runs.Log { return openJetStream(t, t.TempDir()) })
}

func TestReopenedJetStreamHasEverythingAndGoesOn(t *testing.T) {
	dir, k := t.TempDir(), runs.Key{Tenant: "acme", Session: "ses_a"}
	first, err := runs.OpenJetStream(t.Context(), runs.JetStreamConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []agents.Event{said(1, "one"), said(2, "two"), said(3, "three")}
	if err := first.Append(t.Context(), k, 0, want[:2]); err != nil {
		t.Fatal(err)
	}
	first.Close()

	second := openJetStream(t, dir)
	if err := second.Append(t.Context(), k, 2, want[2:]); err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(want, readAll(t, second, k)); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
}

func TestSecondProcessIsKeptOutOfTheDirectory(t *testing.T) {
	dir := t.TempDir()
	openJetStream(t, dir)
	if l, err := runs.OpenJetStream(t.Context(), runs.JetStreamConfig{Dir: dir}); err == nil {
		l.Close()
		t.Error("the directory was opened twice")
	}
}

func TestNamesThatWouldChangeTheSubjectAreRefused(t *testing.T) {
	l := openJetStream(t, t.TempDir())
	for _, k := range []runs.Key{{"acme", "*"}, {"acme", ">"}, {"acme", "a.b"}, {"", "ses_a"}, {"acme", ""}, {"a b", "ses_a"}} {
		if err := l.Append(t.Context(), k, 0, []agents.Event{said(1, "x")}); err == nil {
			t.Errorf("append to %q succeeded", k)
		}
		if err := l.Purge(t.Context(), k); err == nil {
			t.Errorf("purge of %q succeeded", k)
		}
	}
}

func openJetStream(t testing.TB, dir string) *runs.JetStream {
	t.Helper()
	l, err := runs.OpenJetStream(t.Context(), runs.JetStreamConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func said(sequence uint64, text string) agents.Event {
	return agents.Event{Sequence: sequence, Time: time.Unix(1, 0).UTC(), Body: agents.Message{Role: agents.RoleUser, Text: text}}
}

func readAll(t testing.TB, l runs.Log, k runs.Key) []agents.Event {
	t.Helper()
	var all []agents.Event
	for e, err := range l.Read(t.Context(), k) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}
