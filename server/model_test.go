package server_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAModelThatFailsFailsItsRunAndKeepsWhatWasSaid(t *testing.T) {
	t.Parallel()
	for _, fault := range []modeltest.Fault{modeltest.Garbage, modeltest.Abort, modeltest.Cut, modeltest.HalfLine, modeltest.MidError, modeltest.Hang} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			m := modeltest.NewServer(t)
			m.Always("scripted", modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: fault, FaultAfter: 1})
			w := newWorld(t, setup{model: m, edit: func(c *config.Config) {
				d := c.Models["default"]
				if fault == modeltest.Hang {
					d.Timeouts.Idle = time.Second
				}
				c.Models["default"] = d
			}})
			a := w.as(alice)

			events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})

			wantError(t, err, codes.Unavailable, "MODEL_UNAVAILABLE")
			if strings.Contains(status.Convert(err).String(), "secret-detail") {
				t.Error("what the model's server said reached the client")
			}
			f := events[len(events)-1].GetRunFinished()
			if f.GetStopReason() != agents.StopFailed || f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_MODEL_UNAVAILABLE {
				t.Errorf("got %v, want the run failed", events[len(events)-1])
			}
			wantPartial(t, a, events[0].GetSessionId(), "so far ")
			m.Queue("scripted", modeltest.Reply{Text: "fine"})
			if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "again", SessionId: events[0].GetSessionId()}); err != nil {
				t.Errorf("got %v, want the session usable", err)
			}
		})
	}
}

// narrow accepts connections with small send buffers, so that what lies in
// sockets is little.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetWriteBuffer(32 << 10)
	}
	return c, err
}

// endless is a model that speaks until nobody takes it any more, and then tells
// how much it got rid of.
func endless(t *testing.T) (url string, stalled <-chan int64) {
	t.Helper()
	out := make(chan int64, 1)
	word := strings.Repeat("x", 1000) + " "
	delta, err := json.Marshal(map[string]any{"id": "x", "choices": []any{map[string]any{"index": 0, "delta": map[string]any{"content": word}}}})
	if err != nil {
		t.Fatal(err)
	}
	frame := []byte("data: " + string(delta) + "\n\n")
	var calls atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		rc, sent := http.NewResponseController(w), int64(0)
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = rc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)) // so long nobody took a byte
			n, err := w.Write(frame)
			if err == nil {
				err = rc.Flush()
			}
			if err != nil {
				out <- sent
				return
			}
			sent += int64(n)
		}
	}))
	s.Listener = narrow{s.Listener}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/v1", out
}

func TestASlowClientHoldsUpTheModel(t *testing.T) {
	t.Parallel()
	url, stalled := endless(t)
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Models["default"] = config.Model{BaseURL: url, Model: "endless"} }})
	a := w.as(alice)
	_, first, leave := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "talk"}) // and does not read on

	sent := until(t, "the model to stall", stalled)

	// The adapter would give up at 8 MiB. What was taken lies in buffers of sockets and windows.
	t.Logf("the model got rid of %d KiB", sent>>10)
	if sent > 6<<20 {
		t.Errorf("the model got rid of %d bytes though nobody read, want it held up", sent)
	}
	leave()
	if e := a.finished(t, first.GetRunId()); e.GetRunFinished() == nil {
		t.Errorf("got %v, want the run ended", e)
	}
}
