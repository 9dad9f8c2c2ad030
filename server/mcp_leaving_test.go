package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/modelcontextprotocol/go-sdk/mcp"
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

// TestAnAgentOfAnMCPClientOutlivesTheAgeOfConnections: those in the process are shared by
// all clients of the http listener, so that their end would be that of calls which have
// just begun.
func TestAnAgentOfAnMCPClientOutlivesTheAgeOfConnections(t *testing.T) {
	t.Parallel()
	m, asked, release := modeltest.NewServer(t), make(chan struct{}, 1), make(chan struct{})
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		asked <- struct{}{}
		<-release
		return modeltest.Reply{Text: "done"}
	})
	w := newWorld(t, setup{model: m, edit: func(c *config.Config) {
		withMCP(c)
		c.Server.Limits.ConnectionAge, c.Server.Limits.ConnectionGrace = time.Second, time.Second
	}})
	done := asking(t.Context(), w.ide(alice), &mcp.CallToolParams{Name: "agent-support", Arguments: map[string]any{"input": "hello"}})
	<-asked

	for range 4 { // one after the other, each as old as a connection gets
		if got := w.wire(t, w.workload(w.acme, "/app")).outcome(1); got != "closed NO_ERROR" {
			t.Errorf("got %q", got)
		}
	}
	close(release)

	if r := <-done; r.err != nil || r.IsError {
		t.Errorf("got %+v, want it to have come to its end", r)
	}
}
