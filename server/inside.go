package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// inside is the way from our own http listener to the RPCs: connections within the
// process, through the same chain as any other. They bring nobody by themselves; who
// calls is the token of each call.
type inside struct {
	listener *bufconn.Listener
	most     uint32 // calls at once that a connection carries

	mu    sync.Mutex // guards what follows
	lines []*line    // made when those before are full, and kept
}

// line is one connection. A call that waits for a place in a full one would hold up
// whoever comes next, and so there are more.
type line struct {
	conn *grpc.ClientConn
	busy uint32
}

// maxLines bounds what all callers of the http listener have open together. Each
// person is held to their own bounds long before.
const maxLines = 32

func newInside(most uint32) *inside {
	return &inside{listener: bufconn.Listen(64 << 10), most: most}
}

// Inside is the connection for our own http listener; nil without IdentifyWeb.
func (s *Server) Inside() grpc.ClientConnInterface {
	if s.inside == nil {
		return nil
	}
	return s.inside
}

// Invoke implements grpc.ClientConnInterface.
func (i *inside) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	l, err := i.take()
	if err != nil {
		return err
	}
	defer i.give(l)
	return l.conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface; the stream's place is free again
// when its context ends, which is up to the caller.
func (i *inside) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	l, err := i.take()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { i.give(l) })
	return l.conn.NewStream(ctx, desc, method, opts...)
}

func (i *inside) take() (*line, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, l := range i.lines {
		if l.busy < i.most {
			l.busy++
			return l, nil
		}
	}
	if len(i.lines) == maxLines {
		return nil, status.Error(codes.ResourceExhausted, "too many calls at once; try again later")
	}
	conn, err := grpc.NewClient("passthrough:///inside", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return i.listener.DialContext(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("server: connect with ourselves: %w", err)
	}
	l := &line{conn, 1}
	i.lines = append(i.lines, l)
	return l, nil
}

func (i *inside) give(l *line) {
	i.mu.Lock()
	defer i.mu.Unlock()
	l.busy--
}

// Accept implements net.Listener.
func (i *inside) Accept() (net.Conn, error) {
	c, err := i.listener.Accept()
	if err != nil {
		return nil, err
	}
	return &insideConn{c}, nil
}

// Close implements net.Listener.
func (i *inside) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, l := range i.lines {
		_ = l.conn.Close()
	}
	return i.listener.Close()
}

// Addr implements net.Listener.
func (i *inside) Addr() net.Addr { return i.listener.Addr() }

// insideConn is told apart from what comes by a socket by its type, which no peer
// can choose.
type insideConn struct{ net.Conn }

type insideInfo struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (insideInfo) AuthType() string { return "inside" }

func newInsideInfo() insideInfo {
	return insideInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
}

// doors identifies by the rules of the door that a call came through.
type doors struct {
	outside, inside interceptors.Identifier
}

// Identify implements interceptors.Identifier.
func (d doors) Identify(ctx context.Context, conn *tls.ConnectionState, md map[string][]string) (identity.Principal, error) {
	if p, ok := peer.FromContext(ctx); ok && d.inside != nil {
		if _, ours := p.AuthInfo.(insideInfo); ours {
			return d.inside.Identify(ctx, &tls.ConnectionState{}, md)
		}
	}
	return d.outside.Identify(ctx, conn, md)
}
