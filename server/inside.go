package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/test/bufconn"
)

// inside is the way from our own http listener to the RPCs: a connection within the
// process, through the same chain as any other. It brings nobody by itself; who
// calls is the token of each call.
type inside struct {
	listener *bufconn.Listener
	conn     *grpc.ClientConn
}

func newInside() (*inside, error) {
	l := bufconn.Listen(64 << 10)
	conn, err := grpc.NewClient("passthrough:///inside", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("server: connect with ourselves: %w", err)
	}
	return &inside{l, conn}, nil
}

// Inside is the connection for our own http listener; nil without IdentifyWeb.
func (s *Server) Inside() grpc.ClientConnInterface {
	if s.inside == nil {
		return nil
	}
	return s.inside.conn
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
	_ = i.conn.Close()
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
