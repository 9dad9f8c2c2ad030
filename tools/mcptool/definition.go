package mcptool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/policy/arguments"
	"github.com/behalf-dev/behalf/tools"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	maxPages       = 64
	maxMessages    = 4 // that a list may be as large as, on all its pages
	maxShown       = 4 << 10
	maxDescription = 16 << 10
	maxAnnotations = 16 << 10
)

// definition is a tool as its server tells it. The schemas are the server's bytes
// without insignificant white space.
type definition struct {
	Name        string          `json:"name"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	Input       json.RawMessage `json:"inputSchema"`
	Output      json.RawMessage `json:"outputSchema,omitempty"`
	Annotations json.RawMessage `json:"annotations,omitempty"`

	hash string
	flaw string // why it cannot be governed
}

// complete computes the hash. It is over the values and not over their text: a
// server may write its members in another order each time.
func (d *definition) complete() error {
	for _, raw := range []*json.RawMessage{&d.Input, &d.Output, &d.Annotations} {
		if len(*raw) == 0 || string(*raw) == "null" {
			*raw = nil
			continue
		}
		var out bytes.Buffer
		if err := json.Compact(&out, *raw); err != nil {
			return errors.New("a schema is not JSON")
		}
		*raw = out.Bytes()
	}
	text, err := json.Marshal([]any{d.Name, d.Title, d.Description, ordered(d.Input), ordered(d.Output), ordered(d.Annotations)})
	if err != nil {
		return fmt.Errorf("hash a tool: %w", err)
	}
	sum := sha256.Sum256(text)
	d.hash = hex.EncodeToString(sum[:])
	return nil
}

// ordered is a JSON text with its members sorted and its numbers as written.
func ordered(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return string(raw)
	}
	return v
}

func (d *definition) pin(now time.Time) Pin {
	return Pin{Hash: d.hash, Accepted: now.UTC(), Title: d.Title, Description: d.Description, Input: d.Input, Output: d.Output, Annotations: d.Annotations}
}

func (p Pin) definition(name string) (*definition, error) {
	d := &definition{Name: name, Title: p.Title, Description: p.Description, Input: p.Input, Output: p.Output, Annotations: p.Annotations}
	return d, d.complete()
}

// examine finds out why a tool cannot be governed; empty: it can.
func (c *Config) examine(d *definition) string {
	switch {
	case len(d.Description) > maxDescription || len(d.Title) > maxDescription:
		return fmt.Sprintf("its description has more than %d bytes", maxDescription)
	case len(d.Annotations) > maxAnnotations:
		return fmt.Sprintf("its annotations have more than %d bytes", maxAnnotations)
	case wantsHeader(ordered(d.Input)):
		return "it wants arguments in HTTP headers, where no digest covers them"
	}
	t := c.tool(d)
	t.Call = func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, errors.New("not called") }
	if _, err := tools.NewRegistry(t); err != nil {
		return err.Error()
	}
	if _, err := arguments.TypeOf(d.Input); err != nil {
		return "policies cannot be held against its arguments: " + err.Error()
	}
	if d.Output != nil {
		if _, err := tools.CompileResult(d.Output); err != nil {
			return err.Error()
		}
	}
	return ""
}

// wantsHeader looks for the keyword by its name and not in the text, where a name can
// be written in many ways. In whatever case: the library that reads it may not care.
func wantsHeader(v any) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, wantsHeader)
	case map[string]any:
		for name, member := range v {
			if strings.EqualFold(name, "x-mcp-header") || wantsHeader(member) {
				return true
			}
		}
	}
	return false
}

// lister asks for one page of the tools.
type lister func(ctx context.Context, cursor string) (json.RawMessage, error)

// page is a tools/list result.
type page struct {
	Tools      []json.RawMessage `json:"tools"`
	NextCursor string            `json:"nextCursor"`
}

// all reads all pages, of which there is an end.
func (c *Config) all(ctx context.Context, next lister) (map[string]*definition, error) {
	out, cursor, left := map[string]*definition{}, "", maxMessages*c.Limits.Message
	for range maxPages {
		raw, err := next(ctx, cursor)
		if err != nil {
			return nil, fmt.Errorf("list tools: %w", err)
		}
		if left -= len(raw); left < 0 {
			return nil, fmt.Errorf("list tools: more than %d bytes", maxMessages*c.Limits.Message)
		}
		var p page
		if err := jsonv2.Unmarshal(raw, &p); err != nil {
			return nil, errors.New("list tools: the server's answer cannot be read")
		}
		if err := c.read(out, p.Tools); err != nil {
			return nil, err
		}
		if p.NextCursor == "" {
			return out, nil
		}
		cursor = p.NextCursor
	}
	return nil, fmt.Errorf("list tools: more than %d pages", maxPages)
}

func (c *Config) read(into map[string]*definition, found []json.RawMessage) error {
	for _, raw := range found {
		d := &definition{}
		if err := jsonv2.Unmarshal(raw, d); err != nil {
			return errors.New("list tools: a tool cannot be read")
		}
		if err := d.complete(); err != nil {
			return fmt.Errorf("list tools: %w", err)
		}
		if into[d.Name] != nil {
			return errors.New("list tools: a name is there twice")
		}
		if len(into) >= c.Limits.Tools {
			return fmt.Errorf("list tools: more than %d tools", c.Limits.Tools)
		}
		if d.flaw = c.examine(d); d.flaw != "" {
			d.cut()
		}
		into[d.Name] = d
	}
	return nil
}

// cut leaves of a definition that cannot be governed what shows an operator why: it
// may be as large as a message.
func (d *definition) cut() {
	for _, text := range []*string{&d.Title, &d.Description} {
		*text = beginning(*text)
	}
	for _, raw := range []*json.RawMessage{&d.Input, &d.Output, &d.Annotations} {
		if len(*raw) > maxShown {
			*raw = json.RawMessage(beginning(string(*raw)))
		}
	}
}

func beginning(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.Clone(strings.ToValidUTF8(text[:maxShown], "")) + "…"
}

// tool is the descriptor of a definition that was accepted.
func (c *Config) tool(d *definition) tools.Tool {
	k := c.Tools[d.Name]
	t := c.named(d.Name)
	t.Schema, t.Result = d.Input, contentSchema
	if t.Description = k.Description; t.Description == "" {
		t.Description = describe(d)
	}
	if d.Output != nil {
		t.Result = d.Output
	}
	return t
}

// describe is what the model reads of a tool that was accepted as it is.
func describe(d *definition) string {
	text := d.Description
	if text == "" {
		text = d.Title
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(tools.Clean(line, maxDescription), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// named is what the operator says of a tool. The error of a name that cannot be
// cleaned comes from the registry, which refuses the empty one.
func (c *Config) named(own string) tools.Tool {
	k := c.Tools[own]
	name := k.Name
	if name == "" {
		name = NameOf(c.Prefix, own)
	}
	return tools.Tool{Timeout: c.Limits.Call, Descriptor: tools.Descriptor{
		Name: name, Toolset: c.Name, Scopes: k.Scopes, Effect: k.Effect, Risk: k.Risk,
		Idempotent: k.Idempotent, Owners: k.Owners, Audience: c.Backend.Audience,
	}}
}

// page of a session's list.
func (s *session) page(limit time.Duration) lister {
	return func(ctx context.Context, cursor string) (json.RawMessage, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		x := &exchange{}
		_, err := s.client.ListTools(x.in(ctx), &mcp.ListToolsParams{Cursor: cursor})
		return x.answer(s.tap), err
	}
}
