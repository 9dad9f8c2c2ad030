package modeltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Request is one request as it arrived.
type Request struct {
	Model  string
	Header http.Header
	Body   []byte
}

// Script answers requests of one model. It may be called by many goroutines.
type Script func(Request) Reply

// Server is the fake. See the package comment.
type Server struct {
	URL string // with /v1, as base_url

	http *http.Server
	bye  chan struct{} // closed by Close: a hanging reply ends
	once sync.Once

	mu       sync.Mutex
	queues   map[string][]Reply
	always   map[string]Script
	requests []Request
	count    int
	forget   bool
}

// NewServer starts a server on a free loopback port and stops it with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Listen starts a server at addr. The caller closes it.
func Listen(addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr) //nolint:noctx // it has no life before this
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:    "http://" + l.Addr().String() + "/v1",
		bye:    make(chan struct{}),
		queues: map[string][]Reply{},
		always: map[string]Script{},
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.http.Serve(l) }() // ends with Close
	return s, nil
}

// Close ends all streams and the server.
func (s *Server) Close() {
	s.once.Do(func() { close(s.bye) })
	s.http.Close()
}

// Queue adds replies that the model gives once each.
func (s *Server) Queue(model string, replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[model] = append(s.queues[model], replies...)
}

// Always sets the reply that the model gives when its queue is empty.
func (s *Server) Always(model string, r Reply) {
	r = r.Rendered()
	s.Handle(model, func(Request) Reply { return r })
}

// Handle sets the script that answers for the model when its queue is empty.
func (s *Server) Handle(model string, script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always[model] = script
}

// Forget stops recording requests, for benchmarks. They are still counted.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget = true
}

// Requests gives what was recorded, in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Count is the number of requests so far.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// ServeHTTP answers POST …/chat/completions.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client left
	}
	req := Request{Model: modelOf(body), Header: r.Header, Body: body}
	reply, ok := s.next(req)
	if !ok {
		http.Error(w, fmt.Sprintf(`{"error":{"message":"modeltest: nothing queued for %q","code":"model_not_found"}}`, req.Model), http.StatusNotFound)
		return
	}
	s.answer(w, r, &reply)
}

func (s *Server) next(req Request) (Reply, bool) {
	s.mu.Lock()
	s.count++
	if !s.forget {
		s.requests = append(s.requests, req)
	}
	q, script := s.queues[req.Model], s.always[req.Model]
	if len(q) > 0 {
		s.queues[req.Model] = q[1:]
	}
	s.mu.Unlock()

	if len(q) > 0 {
		return q[0], true
	}
	if script != nil {
		return script(req), true
	}
	return Reply{}, false
}

// modelOf reads the model's name, which go-openai writes first.
func modelOf(body []byte) string {
	if rest, ok := bytes.CutPrefix(body, []byte(`{"model":"`)); ok {
		if name, _, ok := bytes.Cut(rest, []byte(`"`)); ok && bytes.IndexByte(name, '\\') < 0 {
			return string(name)
		}
	}
	var req struct{ Model string }
	if json.Unmarshal(body, &req) != nil {
		return ""
	}
	return req.Model
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, reply *Reply) {
	if reply.RetryAfter != "" {
		w.Header().Set("Retry-After", reply.RetryAfter)
	}
	if reply.Status != 0 && reply.Status != http.StatusOK {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(reply.Status)
		_, _ = io.WriteString(w, reply.Body)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	frames := reply.frames
	if frames == nil {
		frames = reply.render()
	}
	if s.write(w, r, frames, reply.Delay) {
		s.strike(w, r, reply.Fault)
	}
}

// write sends the frames, all at once or with a pause before each. It gives
// false when the client left.
func (s *Server) write(w http.ResponseWriter, r *http.Request, frames [][]byte, delay time.Duration) bool {
	if delay == 0 {
		for _, f := range frames {
			_, _ = w.Write(f)
		}
		return true
	}
	tick := time.NewTicker(delay)
	defer tick.Stop()
	flush := http.NewResponseController(w)
	for _, f := range frames {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return false
		case <-s.bye:
			return false
		}
		_, _ = w.Write(f)
		_ = flush.Flush()
	}
	return true
}

// strike does what a fault does to the connection.
func (s *Server) strike(w http.ResponseWriter, r *http.Request, f Fault) {
	switch f {
	case Abort:
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case Hang:
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-s.bye:
		}
	case NoFault, Cut, HalfLine, MidError, Garbage, NoDone, Heartbeat:
	}
}
