// Package wire turns events into their protobuf form and back. The wire form is
// the stored form: what Encode writes is sent to clients and kept in the log,
// and Decode must still read it years later.
//
// It is not a second model of events and holds no rules about them. What it does
// not recognise it refuses: an event without a body, or with a body of a later
// version, is an error, because a fold that skips an event is a wrong fold.
//
// A live delta is the hot path: Encode makes it with one allocation.
//
//	out := wire.Encode(&ev)
//	ev, err := wire.Decode(in)
//
// Encode shares slices and maps with the event; neither side may change them
// afterwards. Both functions may be called by many goroutines.
package wire
