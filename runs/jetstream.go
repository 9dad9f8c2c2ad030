package runs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStreamConfig says where the embedded log lives.
type JetStreamConfig struct {
	// Dir holds the files; it is made if it is not there. One process at a time.
	Dir string
	// QueueLimit bounds the detached runs that wait for a worker; 0 means 10,000.
	QueueLimit int
}

// JetStream is the log in an embedded NATS server, without a port. It survives
// the death of the process: an append is written through before it answers, and
// synced every second. It does not survive the loss of power within that second;
// what must is in the audit log.
type JetStream struct {
	server  *server.Server
	reviver *reviver
	conns   []*nats.Conn        // all of them, for Close
	js      jetstream.JetStream // on the connection of appends
	fences  *lane               // on the connection of appends
	reads   *lane
	streams [buckets]jetstream.Stream
	queue   *workQueue
	unlock  func()
	hub     *hub

	mu    sync.Mutex
	tails map[Key]tail
}

// tail is the end of a session's subject: the newest event and the message it is in.
type tail struct{ event, message uint64 }

const (
	buckets    = 16
	maxTails   = 1 << 14
	maxStep    = 8 << 20 // of one message
	startLimit = 30 * time.Second
	// publishLimit is how long the log may take to answer; after that it is not
	// known whether the step is stored, and the run stops.
	publishLimit = 10 * time.Second
	// maxPending is what the server lets one connection owe; beyond it the server
	// cuts the connection. A lane stays below: each of its slots asks for at most
	// batchBytes and one message.
	maxPending = 256 << 20
	readSlots  = 8
	fenceSlots = 8
)

var errPublish = fmt.Errorf("the log did not answer within %v", publishLimit)

// OpenJetStream starts the embedded server and finds or makes its streams. The
// caller ends it with Close.
func OpenJetStream(ctx context.Context, c JetStreamConfig) (*JetStream, error) {
	if c.Dir == "" {
		return nil, errors.New("open the embedded log: no directory")
	}
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the embedded log: %w", err)
	}
	j := &JetStream{hub: newHub(), tails: map[Key]tail{}, unlock: unlock}
	if err := j.start(ctx, c); err != nil {
		j.Close()
		return nil, fmt.Errorf("open the embedded log: %w", err)
	}
	return j, nil
}

func (j *JetStream) start(ctx context.Context, c JetStreamConfig) error {
	s, err := server.NewServer(&server.Options{
		ServerName: "behalf", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: c.Dir, SyncInterval: syncEvery, DisableJetStreamBanner: true,
		MaxPayload: maxStep, MaxPending: maxPending, NoSystemAccount: true,
	})
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	j.server, j.reviver = s, &reviver{server: s, dir: c.Dir}
	j.reviver.watch()
	s.Start()
	if !s.ReadyForConnections(startLimit) {
		return errors.New("the embedded server is not ready in time")
	}
	return j.prepare(ctx, c)
}

// connect makes a connection for one kind of work: the server handles what comes
// over one in turn, so big reads would hold up appends on the same.
func (j *JetStream) connect(name string) (*nats.Conn, jetstream.JetStream, error) {
	conn, err := nats.Connect("", nats.Name(name), nats.InProcessServer(j.server), nats.MaxReconnects(-1), nats.SyncQueueLen(4*batchMessages))
	if err != nil {
		return nil, nil, fmt.Errorf("connect in process: %w", err)
	}
	j.conns = append(j.conns, conn)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(publishLimit))
	if err != nil {
		return nil, nil, fmt.Errorf("use jetstream: %w", err)
	}
	return conn, js, nil
}

// prepare makes the streams. The bucket is a part of the subject because
// JetStream refuses two streams whose subjects overlap.
func (j *JetStream) prepare(ctx context.Context, c JetStreamConfig) error {
	appends, js, err := j.connect("appends")
	if err != nil {
		return err
	}
	reads, _, err := j.connect("reads")
	if err != nil {
		return err
	}
	_, queue, err := j.connect("queue")
	if err != nil {
		return err
	}
	j.js, j.fences, j.reads = js, newLane(appends, fenceSlots), newLane(reads, readSlots)
	for i := range j.streams {
		name := fmt.Sprintf("BEHALF_%02d", i)
		j.streams[i], err = j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{fmt.Sprintf("behalf.s.%02d.>", i)}, Storage: jetstream.FileStorage,
			AllowDirect: true, MaxMsgs: -1, MaxBytes: -1, Discard: jetstream.DiscardNew,
		})
		if err != nil {
			return fmt.Errorf("make stream %s: %w", name, err)
		}
	}
	j.queue, err = openWorkQueue(ctx, queue, c.QueueLimit)
	return err
}

// Close stops the server and waits until its files are written.
func (j *JetStream) Close() {
	for _, conn := range j.conns {
		conn.Close()
	}
	if j.server != nil {
		j.server.Shutdown()
		j.server.WaitForShutdown()
	}
	j.unlock()
}

// Queue is the durable queue of detached runs: a job that was taken and not done
// comes back after a crash.
func (j *JetStream) Queue() Queue { return j.queue }

// Append implements Log.
func (j *JetStream) Append(ctx context.Context, k Key, after uint64, events []agents.Event) error {
	if err := gapless(after, events); err != nil {
		return err
	}
	if err := j.reviver.revive(); err != nil {
		return err
	}
	at, err := place(k)
	if err != nil {
		return err
	}
	body, err := encodeStep(events)
	if err != nil {
		return err
	}
	last, err := j.fence(ctx, k, at, after)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, publishLimit, errPublish)
	defer cancel()
	msg := &nats.Msg{Subject: at.subject, Data: body}
	ack, err := j.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(last))
	if err != nil {
		j.setTail(k, tail{})
		return appendError(ctx, err)
	}
	j.setTail(k, tail{event: after + uint64(len(events)), message: ack.Sequence})
	j.hub.stored(k, events)
	return nil
}

func appendError(ctx context.Context, err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return ErrConflict
		}
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		return ErrClosed
	}
	return fmt.Errorf("append: %w", because(ctx, err))
}

// fence finds the message that a new one must follow. It is asked of the server
// only when this process did not write the last one.
func (j *JetStream) fence(ctx context.Context, k Key, at location, after uint64) (uint64, error) {
	if after == 0 {
		return 0, nil
	}
	if known := j.tail(k); known.event == after {
		return known.message, nil
	}
	last, err := j.fences.newest(ctx, at)
	if err != nil {
		return 0, fmt.Errorf("find the end of the session: %w", err)
	}
	if last.end.event != after {
		return 0, ErrConflict
	}
	return last.end.message, nil
}

func (j *JetStream) tail(k Key) tail {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tails[k]
}

func (j *JetStream) setTail(k Key, t tail) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t == (tail{}) {
		delete(j.tails, k)
		return
	}
	if len(j.tails) >= maxTails { // it is only a cache: to ask again is right, only slower
		clear(j.tails)
	}
	j.tails[k] = t
}

// Read implements Log.
func (j *JetStream) Read(ctx context.Context, k Key) iter.Seq2[agents.Event, error] {
	return j.after(ctx, k, 0)
}

// Watch implements Log.
func (j *JetStream) Watch(ctx context.Context, k Key, after uint64) iter.Seq2[agents.Event, error] {
	return j.hub.watch(ctx, k, after, func(after uint64) iter.Seq2[agents.Event, error] { return j.after(ctx, k, after) })
}

// Publish implements Log.
func (j *JetStream) Publish(k Key, e *agents.Event) { j.hub.publish(k, e) }

// Purge implements Log.
func (j *JetStream) Purge(ctx context.Context, k Key) error {
	at, err := place(k)
	if err != nil {
		return err
	}
	if err := j.streams[at.bucket].Purge(ctx, jetstream.WithPurgeSubject(at.subject)); err != nil {
		return fmt.Errorf("purge the session: %w", err)
	}
	j.setTail(k, tail{})
	j.hub.purge(k)
	return nil
}

// location is where a session lies.
type location struct {
	bucket  int
	stream  string
	subject string
}

func place(k Key) (location, error) {
	if !isToken(k.Tenant) || !isToken(k.Session) {
		return location{}, errors.New("the tenant or session cannot name a log")
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.Tenant))
	_, _ = h.Write([]byte{'.'})
	_, _ = h.Write([]byte(k.Session))
	n := int(h.Sum32() % buckets)
	number := string([]byte{'0' + byte(n/10), '0' + byte(n%10)})
	return location{n, "BEHALF_" + number, "behalf.s." + number + "." + k.Tenant + "." + k.Session}, nil
}

// isToken reports whether a name can be one part of a subject: a dot or a
// wildcard in it would reach into other sessions.
func isToken(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return name != "" && len(name) <= 128
}

var _ Log = (*JetStream)(nil)
