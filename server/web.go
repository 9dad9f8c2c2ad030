package server

import (
	"net"
	"time"

	"github.com/behalf-dev/behalf/interceptors"
)

// crowded is how many addresses can have all of their connections at once: whoever has
// many addresses has no more of our files and memory than that.
const crowded = 16

// Web lets connections of our own http listener in: of one address as many as this
// server lets in of a peer, who may have a certificate here and has none there. They are
// counted apart, so that pages take no call's place.
func (s *Server) Web(l net.Listener) net.Listener {
	each := s.door.limits.Connections
	return &webListener{l, s.door, newSources(s.door.limits.Handshakes), interceptors.NewCounts(each), interceptors.NewCounts(crowded * each)}
}

type webListener struct {
	net.Listener
	door *door
	new  *sources
	open *interceptors.Counts // by address
	all  *interceptors.Counts
}

// Accept closes what is too much at once: to let it wait would hold up other addresses.
func (l *webListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := source(c)
		var why string
		switch {
		case !l.new.allow(who, time.Now()):
			why = "handshakes"
		case !l.enter(who):
			why = "connections"
		default:
			return &socket{Conn: c, left: func() { l.open.Leave(who); l.all.Leave("") }}, nil
		}
		l.door.refused.WithLabelValues(why).Inc()
		_ = c.Close()
	}
}

func (l *webListener) enter(who string) bool {
	if !l.all.Enter("") {
		return false
	}
	if l.open.Enter(who) {
		return true
	}
	l.all.Leave("")
	return false
}
