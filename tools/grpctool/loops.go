package grpctool

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// loops are the messages below md that have themselves in them, found by one visit of
// each (Tarjan's components): those of a backend may have a thousand ways to each other.
func loops(md protoreflect.MessageDescriptor) map[protoreflect.FullName]bool {
	c := &circles{seen: map[protoreflect.FullName]*seen{}, out: map[protoreflect.FullName]bool{}}
	c.visit(md)
	return c.out
}

type circles struct {
	seen  map[protoreflect.FullName]*seen
	stack []protoreflect.FullName // seen, and in no circle that is known whole
	out   map[protoreflect.FullName]bool
}

type seen struct {
	number int  // in the order of the visits, from 1
	lowest int  // number of the first message that it leads back to
	open   bool // it is on the stack
}

func (c *circles) visit(md protoreflect.MessageDescriptor) *seen {
	name := md.FullName()
	me := &seen{number: len(c.seen) + 1, lowest: len(c.seen) + 1, open: true}
	c.seen[name], c.stack = me, append(c.stack, name)
	for next := range within(md) {
		other := c.seen[next.FullName()]
		switch {
		case other == nil:
			me.lowest = min(me.lowest, c.visit(next).lowest)
		case other == me:
			c.out[name] = true
		case other.open:
			me.lowest = min(me.lowest, other.number)
		}
	}
	if me.lowest == me.number {
		c.shut(name)
	}
	return me
}

// shut takes a circle off the stack that begins with a message: alone it is none.
func (c *circles) shut(first protoreflect.FullName) {
	for alone := c.stack[len(c.stack)-1] == first; ; {
		last := c.stack[len(c.stack)-1]
		c.stack = c.stack[:len(c.stack)-1]
		c.seen[last].open = false
		if !alone {
			c.out[last] = true
		}
		if last == first {
			return
		}
	}
}
