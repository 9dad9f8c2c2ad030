package mcptool

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// Offer is a tool that waits to be accepted, or that cannot be. All texts are fit for
// a terminal, and hide nothing: what has no shape is written as its number.
type Offer struct {
	Tool    string // the name that it has here, or would have; empty: it can have none
	Own     string // the server's name
	Hash    string // of the definition: what Accept takes
	Changed bool   // another definition was accepted before
	Flaw    string // why it cannot be accepted; empty: it can
	Parts   []Part // what a model reads of it, and what is held against it
}

// Part of a definition: lines as they are, and as they were accepted.
type Part struct {
	Name    string // title, description, arguments, result, annotations
	Is, Was []string
}

// Offers are the tools that are not in use as the server has them now.
func (s *Source) Offers() []Offer {
	all := s.offered()
	out := make([]Offer, 0, len(all))
	for i := range all { // without the lock, which calls need
		all[i].Parts = parts(all[i].is, all[i].was)
		out = append(out, all[i].Offer)
	}
	return out
}

// Listed are the names of all that the server lists now, in use or not: those that the
// tools have here, and the server's own. They are fit for a terminal.
func (s *Source) Listed() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for own := range s.listed {
		names = append(names, visible(tools.Clean(own, 4*maxName)))
		if here := s.c.named(own).Name; here != "" {
			names = append(names, here)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// offered is an offer and what its parts are made of.
type offered struct {
	Offer
	is  *definition
	was Pin
}

func (s *Source) offered() (out []offered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	holders, _ := s.holders()
	for _, own := range slices.Sorted(maps.Keys(s.listed)) {
		d, p, flaw := s.listed[own], s.pins[own], s.listed[own].flaw
		if first := holders[s.c.named(own).Name]; flaw == "" && first != "" && first != own {
			flaw = nameless
		}
		if p.Hash == d.hash && flaw == "" {
			continue
		}
		out = append(out, offered{is: d, was: p, Offer: Offer{
			Tool: s.c.named(own).Name, Own: visible(tools.Clean(own, 4*maxName)), Hash: d.hash, Changed: p.Hash != "" && p.Hash != d.hash,
			Flaw: tools.Clean(flaw, 512),
		}})
	}
	return out
}

func parts(d *definition, p Pin) []Part {
	return []Part{
		{"title", readable(d.Title), readable(p.Title)},
		{"description", readable(d.Description), readable(p.Description)},
		{"arguments", indented(d.Input), indented(p.Input)},
		{"result", indented(d.Output), indented(p.Output)},
		{"annotations", indented(d.Annotations), indented(p.Annotations)},
	}
}

func indented(raw json.RawMessage) []string {
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return readable(string(raw))
	}
	return readable(out.String())
}

// readable bounds a text, of which a flawed definition may have megabytes. One that can
// be accepted is never cut.
func readable(text string) (out []string) {
	const most = 1 << 20
	if text == "" {
		return nil
	}
	cut := len(text) > most
	if cut {
		text = strings.ToValidUTF8(text[:most], "")
	}
	for line := range strings.SplitSeq(text, "\n") {
		out = append(out, visible(line))
	}
	if cut {
		out = append(out, "…")
	}
	return out
}

// visible writes what nobody would see as its number: a model reads it all the same.
func visible(line string) string {
	var b strings.Builder
	for _, r := range line {
		if unicode.IsPrint(r) && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u{%04x}`, r)
	}
	return b.String()
}

// Accept takes a tool into use as the server has it now, by the name that it has here
// or by the server's. The hash, or its first 32
// characters or more, says which definition the operator has read; empty: whichever
// it is.
func (s *Source) Accept(tool, hash string) error {
	tool, d := s.find(tool)
	switch {
	case d == nil:
		return fault.New(codes.NotFound, fault.NotFound, "the server has no such tool now, or two of that name")
	case hash != "" && (len(hash) < 32 || !strings.HasPrefix(d.hash, hash)):
		return fault.New(codes.Aborted, fault.ToolUnavailable, "the tool is not what you have read; read it again")
	case d.flaw != "":
		return fault.New(codes.FailedPrecondition, fault.ToolUnavailable, "the tool cannot be governed: "+tools.Clean(d.flaw, 512))
	case s.shadowed(tool):
		return fault.New(codes.FailedPrecondition, fault.ToolUnavailable, nameless)
	}
	p := d.pin(s.c.Now())
	if err := s.c.Pins.Save(s.c.Name, map[string]Pin{tool: p}); err != nil {
		return err
	}
	s.mu.Lock()
	s.pins = maps.Clone(s.pins)
	if s.pins == nil {
		s.pins = map[string]Pin{}
	}
	s.pins[tool] = p
	s.mu.Unlock()
	s.tell()
	return nil
}

func (s *Source) shadowed(own string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	holders, _ := s.holders()
	first := holders[s.c.named(own).Name]
	return first != "" && first != own
}

// find is a listed tool by either name.
func (s *Source) find(name string) (own string, _ *definition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.listed[name]; d != nil {
		return name, d
	}
	var found *definition
	for other, d := range s.listed {
		if s.c.named(other).Name != name {
			continue
		}
		if found != nil {
			return name, nil // the server's names tell them apart
		}
		own, found = other, d
	}
	return own, found
}

// Read reports whether the server has said which tools it has, now or before.
func (s *Source) Read() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// Waiting are the tools that somebody may mean and nobody can call: those that the
// operator names, the server lists or were accepted, by the names that they would have.
// With them are the schemas of their arguments, against which policies can be held, or
// nil where there is none to go by.
func (s *Source) Waiting() map[string]json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, out := map[string]bool{}, map[string]json.RawMessage{}
	for _, own := range s.inUse() {
		used[s.c.named(own).Name] = true
	}
	all := slices.AppendSeq(slices.Collect(maps.Keys(s.c.Tools)), maps.Keys(s.listed))
	for _, own := range slices.AppendSeq(all, maps.Keys(s.pins)) {
		name := s.c.named(own).Name
		if name == "" || used[name] {
			continue
		}
		out[name] = s.pins[own].Input
		if d := s.listed[own]; out[name] == nil && d != nil && d.flaw == "" {
			out[name] = d.Input
		}
	}
	return out
}

// Notes are what the operator says of tools that the server does not list.
func (s *Source) Notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, own := range slices.Sorted(maps.Keys(s.c.Tools)) {
		if s.listed != nil && s.listed[own] == nil {
			out = append(out, fmt.Sprintf("the server lists no tool %q", own))
		}
	}
	return out
}

// note tells the operator what waits, and what of the config does nothing, once.
func (s *Source) note(ctx context.Context) {
	offers, notes := s.offered(), s.Notes()
	s.mu.Lock()
	told := s.told
	s.told = map[string]bool{}
	for _, o := range offers {
		s.told[o.Tool+o.Hash] = true
	}
	for _, n := range notes {
		s.told[n] = true
	}
	s.mu.Unlock()
	for _, n := range notes {
		if !told[n] {
			s.warn(ctx, "a note about a tool backend", slog.String("note", n))
		}
	}
	for _, o := range offers {
		if told[o.Tool+o.Hash] {
			continue
		}
		s.warn(ctx, "a tool of an MCP server is not in use", slog.String("tool", o.Tool),
			slog.String("hash", o.Hash), slog.Bool("changed", o.Changed), slog.String("why", o.why()), slog.String("type", s.c.review()))
	}
}

// why is what keeps a tool from being used.
func (o Offer) why() string {
	switch {
	case o.Flaw != "":
		return o.Flaw
	case o.Changed:
		return "it is not what was accepted"
	}
	return "it is new, and nobody has accepted it"
}

// order is what an operator types to see what waits, as callers may read it.
func (c *Config) order() string { return cmp.Or(c.Review, "behalf tools review") + " " }

// review is what the operator of this config types. It is for the log: callers are
// told no paths.
func (c *Config) review() string {
	if c.File == "" || c.Review != "" {
		return c.order() + c.Name
	}
	file := c.File
	if strings.ContainsFunc(file, func(r rune) bool { return !plain(r) }) {
		file = "'" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	}
	return c.order() + "-c " + file + " " + c.Name
}

// plain reports whether a shell leaves a character as it is.
func plain(r rune) bool {
	return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+:,@%", r))
}
