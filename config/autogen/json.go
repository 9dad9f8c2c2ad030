package autogen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxBytes and maxDepth bound a file. A component takes four levels, and a chain of agents may have
// eight.
const (
	MaxBytes = 4 << 20
	maxDepth = 64
)

// inspect refuses what is not strict JSON: duplicate keys, bad UTF-8, more than
// one value; and what is too large or too deep to be walked.
func inspect(data []byte) error {
	if len(data) > MaxBytes {
		return fmt.Errorf("has more than %d bytes", MaxBytes)
	}
	d := jsontext.NewDecoder(bytes.NewReader(data))
	for values := 0; ; {
		if d.StackDepth() == 0 {
			values++
		}
		_, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && values == 2:
			return nil
		case err != nil:
			return fmt.Errorf("is not plain JSON: %w", err)
		case values > 1:
			return errors.New("has more than one value")
		case d.StackDepth() > maxDepth:
			return fmt.Errorf("is nested more than %d levels deep", maxDepth)
		}
	}
}

// part is a component of a file, or another object in it. What is read from it is
// taken out; done reports the rest.
type part struct {
	*importer
	at    string
	class string // the last word of its provider
	label string
	left  map[string]jsontext.Value
	raw   jsontext.Value
}

// aliases are the short providers of AutoGen.
var aliases = map[string]string{
	"openai_chat_completion_client":       "OpenAIChatCompletionClient",
	"azure_openai_chat_completion_client": "AzureOpenAIChatCompletionClient",
}

// open reads a component. The version does not matter: what differs between
// versions is optional here.
func (im *importer) open(raw jsontext.Value, at string) *part {
	e := im.object(raw, at)
	provider := e.text("provider")
	p := &part{importer: im, at: at, class: provider[strings.LastIndexByte(provider, '.')+1:], label: e.text("label"), raw: raw}
	if full := aliases[p.class]; full != "" {
		p.class = full
	}
	if p.label == p.class {
		p.label = "" // what AutoGen writes when there is none
	}
	if provider == "" {
		im.bad(at, "is no component: it has no provider", "export it with dump_component() in AutoGen 0.4 or later")
	}
	e.skip("component_type", "version", "component_version", "description")
	e.take("config", &p.left, "an object")
	if e.done(); p.left == nil {
		p.left = map[string]jsontext.Value{}
	}
	return p
}

func (im *importer) object(raw jsontext.Value, at string) *part {
	p := &part{importer: im, at: at}
	if json.Unmarshal(raw, &p.left) != nil {
		im.bad(at, "is not an object", "")
	}
	return p
}

// take reads a key. What is null is not there.
func (p *part) take(key string, into any, want string) bool {
	raw, ok := p.left[key]
	delete(p.left, key)
	if !ok || raw.Kind() == 'n' {
		return false
	}
	if json.Unmarshal(raw, into) != nil {
		p.bad(p.below(key), "is not "+want, "")
		return false
	}
	return true
}

func (p *part) below(key string) string {
	if p.at == "" {
		return key
	}
	return p.at + "." + key
}

func (p *part) text(key string) (s string) {
	p.take(key, &s, "text")
	return s
}

func (p *part) texts(key string) (list []string) {
	p.take(key, &list, "a list of texts")
	return list
}

func (p *part) truth(key string) (b bool) {
	p.take(key, &b, "true or false")
	return b
}

// count reads a number that is at least 1; 0 is not there.
func (p *part) count(key string) (n int) {
	if p.take(key, &n, "a whole number") && n < 1 {
		p.bad(p.below(key), "is less than 1", "")
	}
	return max(n, 0)
}

func (p *part) child(key string) *part {
	var raw jsontext.Value
	if !p.take(key, &raw, "a component") {
		return nil
	}
	return p.open(raw, p.below(key))
}

// children reads a list of components; one that stands alone is a list of one.
func (p *part) children(key string) []*part {
	if raw, ok := p.left[key]; ok && raw.Kind() == '{' {
		return []*part{p.child(key)}
	}
	var list []jsontext.Value
	p.take(key, &list, "a list of components")
	parts := make([]*part, len(list))
	for i, raw := range list {
		parts[i] = p.open(raw, p.below(key)+"["+strconv.Itoa(i)+"]")
	}
	return parts
}

// skip leaves out what has no meaning here.
func (p *part) skip(keys ...string) {
	for _, key := range keys {
		delete(p.left, key)
	}
}

// lose leaves out what is not the same without it.
func (p *part) lose(text string, keys ...string) {
	for _, key := range keys {
		raw, ok := p.left[key]
		if ok && !slices.Contains([]string{"null", "[]", "{}", "false", `""`}, string(raw)) {
			p.note(Lost, p.below(key), text)
		}
		delete(p.left, key)
	}
}

// done reports what nobody took.
func (p *part) done() {
	for _, key := range slices.Sorted(maps.Keys(p.left)) {
		p.lose("unknown here, left out", key)
	}
}

// identity is equal for parts that say the same. It is empty for what depends on
// the team that it is in: hand-offs name others by names that are unique in their
// team only.
func (p *part) identity() string {
	canonical := p.raw.Clone()
	if canonical.Canonicalize() != nil {
		return ""
	}
	text := string(canonical)
	if strings.Count(text, `"handoffs":[`) > strings.Count(text, `"handoffs":[]`) {
		return ""
	}
	return text
}
