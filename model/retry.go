package model

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// again says whether to send the request once more after err, and how long to
// wait before. Only what failed before the first byte of an answer comes here.
// Asking a model twice has no effect but its price.
func (c *OpenAIConfig) again(ctx context.Context, attempt int, err error) (time.Duration, bool) {
	if attempt >= c.Retries || ctx.Err() != nil || !transient(err) {
		return 0, false
	}
	wait := c.backoff(attempt)
	if r, ok := errors.AsType[*refused](err); ok && r.retry > 0 {
		wait = r.retry
	}
	if wait > c.MaxDelay {
		return 0, false // the caller is told instead
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
		return 0, false
	}
	return wait, true
}

// backoff is exponential with full jitter in its upper half, so that the
// streams of one outage do not come back together.
func (c *OpenAIConfig) backoff(attempt int) time.Duration {
	d := min(c.Backoff<<min(attempt, 16), c.MaxDelay)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}

func transient(err error) bool {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.status == http.StatusTooManyRequests && r.kind != kindQuota || r.status >= http.StatusInternalServerError
	}
	u, ok := errors.AsType[*unreachable](err)
	return ok && !u.final
}

// retryAfter reads RFC 9110 10.2.3: seconds or a date. What it cannot read is 0.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

func statusText(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}
