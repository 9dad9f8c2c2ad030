package behalf

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

func TestAFailureIsToldWithItsCauseAndNotForEachCall(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(1_700_000_000, 0)
	s := &Server{opt: options{log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }}}
	away := fault.New(codes.Unavailable, fault.ToolUnavailable, "it cannot be reached")
	fails := func(call int, err error) {
		s.reportTool(t.Context(), "get_customer", fmt.Errorf("call run_1/%d: %w", call, err))
	}

	for call := range 100 {
		fails(call, away.Because(errors.New("10.0.0.7:9443: connection refused")))
	}
	if n := strings.Count(log.String(), "tool failed"); n != 1 || !strings.Contains(log.String(), `cause="10.0.0.7:9443: connection refused"`) {
		t.Fatalf("got %d lines: %s", n, log.String())
	}
	fails(100, away.Because(errors.New("\x1b[31mno\nsuch host"+strings.Repeat("x", 1<<20))))
	now = now.Add(time.Minute)
	fails(101, away)
	fails(102, errors.New("plain"))

	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 4 || len(log.String()) > 16<<10 || strings.Contains(log.String(), "\x1b") {
		t.Fatalf("got %d lines of %d bytes, want four that are bounded and clean", len(lines), log.Len())
	}
	if !strings.Contains(lines[1], "left_out=99") || !strings.Contains(lines[2], "it cannot be reached") || !strings.Contains(lines[3], "cause=plain") {
		t.Errorf("got %s", log.String())
	}
}
