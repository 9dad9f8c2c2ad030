package server

import (
	"net"

	"github.com/behalf-dev/behalf/interceptors"
)

// Web lets connections of our own http listener in: of one address as many as this
// server lets in of a peer, who may have a certificate here and has none there. They are
// counted apart, so that pages take no call's place.
func (s *Server) Web(l net.Listener) net.Listener {
	return &webListener{l, s.door, interceptors.NewCounts(s.door.limits.Connections)}
}

type webListener struct {
	net.Listener
	door *door
	open *interceptors.Counts
}

// Accept closes what is too much at once: to let it wait would hold up other addresses.
func (l *webListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := source(c)
		if l.open.Enter(who) {
			return &socket{Conn: c, left: func() { l.open.Leave(who) }}, nil
		}
		l.door.refused.WithLabelValues("connections").Inc()
		_ = c.Close()
	}
}
