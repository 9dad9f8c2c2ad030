package grpctool

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// method is one that can be called as a tool.
type method struct {
	tools.Descriptor

	path        string // /crm.v1.Customers/GetCustomer
	input       protoreflect.MessageDescriptor
	output      protoreflect.MessageDescriptor                           // without what is hidden
	answers     map[protoreflect.FullName]protoreflect.MessageDescriptor // all of it, and the messages in it
	gives       *kinds                                                   // of Anys in answers
	takes       *kinds                                                   // of those in arguments
	widest      int                                                      // fields of a message in answers
	streams     bool
	fingerprint string
	hides       bool // fields of answers have classes that are not revealed
	requires    bool // answers have fields that must be there
	opens       bool // there are Anys in what it takes
	offered     bool // its name is the backend's choice
}

// catalogue is what a backend has to offer, as it was read once.
type catalogue struct {
	methods map[string]*method // by path
	notes   []string           // what is no tool, and why, and waivers that do nothing; bounded
	left    map[string]string  // why a method is no tool, by the name that the tool would have; bounded
	digest  string             // of all tools
	err     error              // why none of it can be used
}

// offer makes the catalogue of files. Problems are for whoever configures the backend: a
// method that cannot be a tool is a note, unless the config names it. It is an error if
// the files do not fit together, and if they have this code or the library panic: neither
// is made for all that is hostile.
func offer(c *Config, f *files) (_ *catalogue, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the descriptors cannot be read: %s", oneLine(fmt.Sprint(r), maxIdentifier))
		}
	}()
	linked, err := f.link()
	if err != nil {
		return nil, err
	}
	cat := &catalogue{methods: map[string]*method{}, left: map[string]string{}}
	b := &builder{c: c, cat: cat, used: map[string]bool{}, prints: prints{}, left: maxWork}
	for _, name := range c.Services {
		sd, err := service(linked, name)
		if err != nil {
			b.problem(err)
			b.lost = true
			continue
		}
		b.service(sd)
	}
	if err := b.unpack(f, linked); err != nil {
		return nil, err
	}
	if err := b.hide(f); err != nil {
		return nil, err
	}
	b.check()
	cat.err = b.problems.err()
	cat.notes = b.notes.list()
	return cat, nil
}

type builder struct {
	c        *Config
	cat      *catalogue
	used     map[string]bool // facts and waivers that mean something
	open     []string        // parameters that lack a waiver, for mistakes in waivers; not all
	lost     bool            // a service is not there, and so nor are its methods
	problems sayings
	notes    sayings
	prints   prints
	left     int // of maxWork
}

// maxWork bounds the messages, fields and parameters that are looked at for all
// methods together: each may have as many as one can, and they are read again and
// again.
const maxWork = 500_000

var errWork = errors.New("the methods before it have too many fields together; name fewer services")

func (b *builder) problem(err error) { b.problems.add(err.Error()) }

func (b *builder) service(sd protoreflect.ServiceDescriptor) {
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		facts, named := b.facts(md)
		if facts.Skip {
			continue
		}
		if len(b.cat.methods) >= maxMethods {
			b.problem(fmt.Errorf("there are more than %d methods", maxMethods))
			return
		}
		m, err := b.method(md, facts)
		switch {
		case err == nil:
			b.cat.methods[m.path] = m
		case named || errors.Is(err, errPerson):
			b.problem(err)
		default:
			b.leaveOut(md, facts, err)
		}
	}
}

// leaveOut notes why a method is no tool, also for whoever looks for the tool.
func (b *builder) leaveOut(md protoreflect.MethodDescriptor, f Facts, why error) {
	b.notes.add("left out: " + why.Error())
	if name := b.descriptor(md, f).Name; len(b.cat.left) < maxMethods {
		b.cat.left[name] = oneLine(errors.Unwrap(why).Error(), maxSaying) // without the method's own name
	}
}

// meant is the end of a sentence about a method that is not there.
func (b *builder) meant(key string) string {
	var names []string
	for path := range b.cat.methods {
		if path = path[1:]; !strings.Contains(key, "/") {
			path = path[strings.IndexByte(path, '/')+1:]
		}
		names = append(names, tools.Clean(path, maxIdentifier))
	}
	return typo.DidYouMean(key, names)
}

// facts are those of the config.
func (b *builder) facts(md protoreflect.MethodDescriptor) (Facts, bool) {
	for _, key := range []string{string(md.Parent().FullName()) + "/" + string(md.Name()), string(md.Name())} {
		if f, ok := b.c.Facts[key]; ok {
			b.used[key] = true
			return f, true
		}
	}
	return Facts{}, false
}

func (b *builder) method(md protoreflect.MethodDescriptor, f Facts) (*method, error) {
	wrong := func(err error) (*method, error) {
		return nil, fmt.Errorf("method %s: %w", tools.Clean(string(md.FullName()), maxIdentifier), err)
	}
	if md.IsStreamingClient() {
		return wrong(errors.New("a tool takes one message, and this takes a stream"))
	}
	if b.left < 0 {
		return wrong(errWork)
	}
	m := &method{
		offered: f.Name == "", Descriptor: b.descriptor(md, f), path: "/" + string(md.Parent().FullName()) + "/" + string(md.Name()),
		input: md.Input(), streams: md.IsStreamingServer(), gives: none, takes: none,
	}
	var err error
	var n int
	m.fingerprint, n, err = b.prints.fingerprint(md)
	if b.left -= n; err != nil {
		return wrong(err)
	}
	if err = b.own(m, md, f); err != nil {
		return wrong(err)
	}
	b.answer(m, md.Output())
	m.Schema, n, err = argumentsOf(md.Input(), slices.Sorted(maps.Keys(m.Owners)))
	if b.left -= n; err != nil {
		return wrong(fmt.Errorf("what it takes: %w", err))
	}
	m.Result, n, err = resultOf(md.Output(), m.streams)
	if b.left -= n; err != nil {
		return wrong(fmt.Errorf("what it gives: %w", err))
	}
	return m, nil
}

// descriptor puts together what the backend says and what the config says.
func (b *builder) descriptor(md protoreflect.MethodDescriptor, f Facts) tools.Descriptor {
	s := said(md)
	name := b.c.Prefix + cmp.Or(s.GetName(), snake(string(md.Name())))
	scopes := f.Scopes
	if scopes == nil {
		scopes = s.GetScopes()
	}
	return tools.Descriptor{
		Name: cmp.Or(f.Name, name), Toolset: b.c.Toolset, Audience: b.c.Backend.Audience,
		Description: cmp.Or(f.Description, tools.Clean(s.GetDescription(), 4<<10), comment(md, 4<<10)),
		Scopes:      slices.Clone(scopes), Effect: cmp.Or(f.Effect, effectOf(s.GetEffect()), tools.Write), Risk: cmp.Or(f.Risk, riskOf(s.GetRisk())),
		Idempotent: f.Idempotent || s.GetIdempotent(), Owners: map[string]tools.Owner{},
	}
}

// answer looks at what the method gives. How it is read when something of it is hidden
// is seen to when all methods are known.
func (b *builder) answer(m *method, md protoreflect.MessageDescriptor) {
	m.output, m.answers = md, map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	reach(md, m.answers)
	inputs := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	reach(m.input, inputs)
	m.opens = inputs[anyName] != nil
	for _, one := range m.answers {
		m.widest = max(m.widest, one.Fields().Len())
		for i := range one.Fields().Len() {
			fd := one.Fields().Get(i)
			m.hides = m.hides || hidden(fd.Options(), b.c.Reveal)
			m.requires = m.requires || fd.Cardinality() == protoreflect.Required
		}
	}
	m.Hides = hiding(maps.Values(m.answers), b.c.Reveal)
}

// hide has the answers in which something is hidden read without it.
func (b *builder) hide(f *files) error {
	var paths []string
	for _, m := range b.cat.methods {
		if m.hides {
			paths = append(paths, m.output.ParentFile().Path())
		}
	}
	if len(paths) == 0 {
		return nil
	}
	shown, err := f.less(paths, b.c.Reveal).link()
	if err != nil {
		return err
	}
	for _, m := range b.cat.methods {
		if !m.hides {
			continue
		}
		d, err := shown.FindDescriptorByName(m.output.FullName())
		md, ok := d.(protoreflect.MessageDescriptor)
		if err != nil || !ok {
			return fmt.Errorf("method %s: what it gives cannot be read", tools.Clean(m.path, maxIdentifier))
		}
		m.output = md
	}
	return nil
}

var (
	errPerson = errors.New("looks like a person's id")
	errLoose  = errors.New("can hold anything, a person's id too, and no policy looks inside")
)

// own finds whose data the parameters name.
func (b *builder) own(m *method, md protoreflect.MethodDescriptor, f Facts) error {
	var problems []error
	known := map[string]bool{}
	n, err := parameters(md.Input(), func(p parameter) {
		at := strings.Join(p.path, ".")
		known[at] = true
		if err := b.parameter(m, md, f.Owners[at], p); err != nil {
			problems = append(problems, fmt.Errorf("parameter %s %w", at, err))
		}
	})
	if b.left -= n; err != nil {
		return err
	}
	for _, param := range slices.Sorted(maps.Keys(f.Owners)) {
		if !known[param] {
			problems = append(problems, fmt.Errorf("there is no parameter %s to have an owner", param))
		}
	}
	return errors.Join(problems...)
}

// parameter says what is wrong with one. One that looks like a person's id must have an
// owner, or a waiver: else anybody's agent could name anybody. So could it in one that
// has no shape, which must have a waiver. No waiver takes an owner away: a release of
// the backend may say whose a parameter is that was waived before.
func (b *builder) parameter(m *method, md protoreflect.MethodDescriptor, own tools.Owner, p parameter) error {
	at := strings.Join(p.path, ".")
	waiver := string(md.Name()) + "." + at
	owner, waived := cmp.Or(own, ownerOf(saidOf(p.fd).GetOwner())), b.waived(md, at)
	switch {
	case waived && own != "":
		return fmt.Errorf("has an owner (owners) and a waiver (waive %q): take one of them away", waiver)
	case waived && owner != "":
		b.idle(md, at, "the backend says whose it must be (behalf.v1.field), and that holds")
	}
	switch {
	case owner != "" && (len(p.path) > 1 || p.fd.Kind() != protoreflect.StringKind || p.fd.IsList()):
		return errors.New("has an owner, and is not one text of the request itself")
	case owner != "":
		m.Owners[at] = owner
	case p.loose() && !waived:
		b.lacks(md, at)
		return fmt.Errorf("%w: waive %q to allow it", errLoose, waiver)
	case p.loose():
	case p.names() && personal(string(md.Name()), p.path, p.fd.IsList()):
		if !waived {
			b.lacks(md, at)
			return fmt.Errorf("%w: say whose it must be (owners), or waive %q", errPerson, waiver)
		}
	case waived:
		b.idle(md, at, "it needs none")
	}
	return nil
}

// idle notes a waiver that does nothing. It is no problem, for the next release of a
// backend would take all its tools away.
func (b *builder) idle(md protoreflect.MethodDescriptor, at, why string) {
	b.notes.add(fmt.Sprintf("method %s: the waiver of parameter %s waives nothing: %s", tools.Clean(string(md.FullName()), maxIdentifier), at, why))
}

// lacks keeps the name of a parameter that needs a waiver, as one would be written.
func (b *builder) lacks(md protoreflect.MethodDescriptor, at string) {
	name := string(md.Parent().FullName()) + "/" + string(md.Name()) + "." + at
	if len(b.open) < maxOpen && len(name) <= maxIdentifier {
		b.open = append(b.open, name)
	}
}

// maxOpen is as many as package typo compares.
const maxOpen = 1000

// unwaived is the end of a sentence about a waiver of what is not there: method and
// parameter must each be near, for what it names is likely to be waived. Who writes the
// tool's name for the method's is understood.
func (b *builder) unwaived(waiver string) string {
	method, param := halves(strings.TrimPrefix(waiver, b.c.Prefix))
	names := map[string]map[string]string{} // as they are written, by halves
	for _, name := range b.open {
		if !strings.Contains(waiver, "/") {
			name = name[strings.IndexByte(name, '/')+1:]
		}
		m, p := halves(name)
		if names[m] == nil {
			names[m] = map[string]string{}
		}
		names[m][p] = tools.Clean(name, maxIdentifier)
	}
	params := names[typo.Meant(method, slices.Collect(maps.Keys(names)))]
	if meant := typo.Meant(param, slices.Collect(maps.Keys(params))); meant != "" {
		return "; did you mean " + params[meant] + "?"
	}
	return ""
}

// halves are the method and the parameter of a waiver, in snake case.
func halves(waiver string) (method, param string) {
	at := strings.LastIndexByte(waiver, '/') + 1
	name, param, _ := strings.Cut(waiver[at:], ".")
	return snake(waiver[:at] + name), snake(param)
}

func (b *builder) waived(md protoreflect.MethodDescriptor, at string) bool {
	for _, w := range []string{string(md.Name()) + "." + at, string(md.Parent().FullName()) + "/" + string(md.Name()) + "." + at} {
		if slices.Contains(b.c.Waived, w) {
			b.used[w] = true
			return true
		}
	}
	return false
}

// check compares the methods with the config. Who of two has a name is for the
// registry to say, which knows all backends.
func (b *builder) check() {
	for _, path := range slices.Sorted(maps.Keys(b.cat.methods)) {
		b.cat.digest += path + b.cat.methods[path].fingerprint + b.cat.methods[path].Hash() + "\n"
	}
	for _, key := range slices.Sorted(maps.Keys(b.c.Facts)) {
		if !b.used[key] && !b.lost {
			b.problem(fmt.Errorf("the services have no method %s%s", key, b.meant(key)))
		}
	}
	for _, w := range b.c.Waived {
		if !b.used[w] && !b.lost {
			b.problem(fmt.Errorf("there is no parameter %s to waive%s", w, b.unwaived(w)))
		}
	}
}
