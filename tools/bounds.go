package tools

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of a schema, which is compiled before anybody has accepted it. The library
// looks up in a list what it has compiled, and copies all that it knows for each
// reference to where no schema is expected.
const (
	maxSubschemas = 8_000
	maxNamed      = 500     // that have an $id
	maxPlaces     = 500     // that are referred to and are no definitions
	maxPattern    = 10_000  // instructions of one pattern
	maxPatterns   = 100_000 // of all of them
	maxBeside     = 10_000  // schemas that one value is held against
)

var (
	errPattern = errors.New("a pattern repeats too much")
	errExpands = errors.New("one value would be held against too many parts of the schema, or against one of them without end")
	errDynamic = errors.New("$dynamicRef and $recursiveRef are not supported; use $ref")
)

// census counts what a schema has in it.
type census struct {
	schemas, named, instructions int
	places                       map[string]bool
}

// bounded refuses a schema that takes too long to compile.
func bounded(doc any) error {
	c := &census{places: map[string]bool{}}
	c.count(doc)
	switch {
	case c.schemas > maxSubschemas:
		return fmt.Errorf("has more than %d schemas in it", maxSubschemas)
	case c.named > maxNamed:
		return fmt.Errorf("has more than %d schemas with an $id", maxNamed)
	case len(c.places) > maxPlaces:
		return fmt.Errorf("refers to more than %d places that are no definitions", maxPlaces)
	case c.instructions > maxPatterns:
		return errPattern
	}
	return nil
}

func (c *census) count(node any) {
	switch node := node.(type) {
	case bool:
		c.schemas++
	case []any:
		for _, item := range node {
			c.count(item)
		}
	case map[string]any:
		c.schemas++
		c.object(node)
	}
}

func (c *census) object(obj map[string]any) {
	for name, v := range obj {
		text, ok := v.(string)
		switch {
		case !ok:
			c.count(v)
		case name == "$id" || name == "id":
			c.named++
		case name == "$ref" && !definition(text):
			c.places[text] = true
		case name == "pattern":
			c.instructions += min(instructions(text), maxPattern)
		}
	}
	named, _ := obj["patternProperties"].(map[string]any)
	for text := range named {
		c.instructions += min(instructions(text), maxPattern)
	}
}

// definition reports whether a reference names a definition of the root.
func definition(ref string) bool {
	for _, group := range []string{"#/$defs/", "#/definitions/"} {
		if name, ok := strings.CutPrefix(ref, group); ok {
			return !strings.Contains(name, "/")
		}
	}
	return false
}

// pattern is a regular expression whose size is known.
type pattern struct {
	*regexp.Regexp
	instructions int
}

// compilePattern is the library's engine.
func compilePattern(text string) (jsonschema.Regexp, error) {
	n := instructions(text)
	if n > maxPattern {
		return nil, errPattern
	}
	re, err := regexp.Compile(text)
	return &pattern{re, n}, err
}

// instructions is about how many a pattern has, found out without compiling it: nine
// bytes make thousands. One that is not RE2 has none.
func instructions(text string) int {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	return sizeOf(re)
}

func sizeOf(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += sizeOf(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// expansion is how many schemas a value is held against because it is held against
// one: a handful of definitions makes millions where each uses the next one twice.
type expansion map[*jsonschema.Schema]int

// expands refuses a compiled schema that makes too many of one value.
func expands(root *jsonschema.Schema) error {
	e, seen, todo := expansion{}, map[*jsonschema.Schema]bool{}, []*jsonschema.Schema{root}
	add := func(s *jsonschema.Schema) {
		if !seen[s] {
			seen[s] = true
			todo = append(todo, s)
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch {
		case s.DynamicRef != nil || s.RecursiveRef != nil:
			return errDynamic // where it leads depends on the way to it
		case e.count(s) > maxBeside:
			return errExpands
		}
		beside(s, add)
		inside(s, add)
	}
	return nil
}

func (e expansion) count(s *jsonschema.Schema) int {
	if n, ok := e[s]; ok {
		return n
	}
	e[s] = maxBeside + 1 // where it leads back to itself
	n := 1
	beside(s, func(sub *jsonschema.Schema) { n = min(n+e.count(sub), maxBeside+1) })
	e[s] = n
	return n
}
