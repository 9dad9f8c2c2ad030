package tools_test

import (
	"encoding/json"
	"testing"

	"github.com/behalf-dev/behalf/tools"
)

func TestAToolTellsItsProgressToWhoeverAsks(t *testing.T) {
	var got []tools.Progress
	if _, ok := tools.ProgressFrom(t.Context()); ok {
		t.Error("somebody asks, and nobody did")
	}

	tell, ok := tools.ProgressFrom(tools.WithProgress(t.Context(), func(p tools.Progress) { got = append(got, p) }))
	if !ok {
		t.Fatal("nobody asks")
	}
	tell(tools.Progress{Done: 1, Total: 2})

	if len(got) != 1 || got[0].Total != 2 {
		t.Errorf("got %v, want the one that was told", got)
	}
}

func TestAResultIsHeldToTheSchemaThatWasDeclared(t *testing.T) {
	check, err := tools.CompileResult(json.RawMessage(`{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for result, want := range map[string]bool{`{"id":7}`: true, `{"id":7,"more":1}`: true, `{"id":"7"}`: false, `{}`: false, `{"id":7,"id":8}`: false, `nothing`: false} {
		if got := check(json.RawMessage(result)) == nil; got != want {
			t.Errorf("%s: got %v, want %v", result, got, want)
		}
	}
	for _, bad := range []string{`{"$ref":"file:///etc/hostname"}`, `{"$ref":"https://evil.example/s.json"}`, `{`, `{"type":7}`} {
		if _, err := tools.CompileResult(json.RawMessage(bad)); err == nil {
			t.Errorf("%s: compiled", bad)
		}
	}
}
