package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
)

// TestAnMCPClientThatGoesAwayCancelsItsRun, whether it hears of progress or not.
func TestAnMCPClientThatGoesAwayCancelsItsRun(t *testing.T) {
	t.Parallel()
	m, asked := modeltest.NewServer(t), make(chan struct{}, 1)
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		asked <- struct{}{}
		return modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: modeltest.Hang, FaultAfter: 1}
	})
	w := newWorld(t, setup{model: m, edit: withMCP})
	a := w.as(alice)
	for name, token := range map[string]any{"with progress": "mine", "without": nil} {
		body := map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{
			"name": "agent-support", "arguments": map[string]any{"input": "hello"}, "_meta": map[string]any{"progressToken": token},
		}}
		ctx, leave := context.WithCancel(t.Context())
		r := ok(http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.http+"/mcp", bytes.NewReader(ok(json.Marshal(body))(t))))(t)
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + w.token(w.idp, alice, nil)}}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if resp, err := http.DefaultClient.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
		<-asked
		list := ok(a.runs().ListRuns(a.ctx(t), &behalfv1.ListRunsRequest{States: []behalfv1.RunState{behalfv1.RunState_RUN_STATE_RUNNING}}))(t).GetRuns()
		if len(list) != 1 {
			t.Fatalf("%s: got %v, want one run at work", name, list)
		}

		leave()
		<-gone

		if end := a.finished(t, list[0].GetRunId()).GetRunFinished(); end.GetState() != behalfv1.RunState_RUN_STATE_CANCELLED {
			t.Errorf("%s: got %v, want the run cancelled", name, end)
		}
	}
}
