package config

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalar checks a single value against its type and its tags, and leaves it so
// that it decodes.
func (r *reader) scalar(n *yaml.Node, s slot) bool {
	if n.Kind != yaml.ScalarNode {
		return r.wrong(n, s.at, "a single value")
	}
	tag := n.ShortTag()
	r.written[s.at] = n.Value
	referred, ok := r.expand(n, s)
	if !ok {
		return false
	}
	if s.typ == reflect.TypeFor[time.Duration]() {
		return r.duration(n, s)
	}
	switch s.typ.Kind() {
	case reflect.Bool:
		return r.boolean(n, s, referred || tag == "!!bool")
	case reflect.Int:
		return r.number(n, s, referred || tag == "!!int")
	case reflect.Float64:
		return r.decimal(n, s, referred || tag == "!!int" || tag == "!!float")
	}
	if tag == "!!bool" {
		return r.spoil(s.at, "is true or false", "it must be text; put it into quotes if it is")
	}
	return r.text(n, s)
}

func (r *reader) boolean(n *yaml.Node, s slot, fits bool) bool {
	if !fits || n.Value != "true" && n.Value != "false" {
		return r.spoil(s.at, r.show(s.at)+" is neither true nor false", "write true or false")
	}
	n.Tag, n.Style = "!!bool", 0
	return true
}

func (r *reader) number(n *yaml.Node, s slot, fits bool) bool {
	i, err := strconv.Atoi(n.Value)
	if !fits || err != nil || strconv.Itoa(i) != n.Value {
		return r.spoil(s.at, r.show(s.at)+" is not a whole number", "write digits only")
	}
	n.Tag, n.Style = "!!int", 0
	return inRange(r, s, i, strconv.Atoi)
}

func (r *reader) decimal(n *yaml.Node, s slot, fits bool) bool {
	f, err := parseDecimal(n.Value)
	if !fits || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return r.spoil(s.at, r.show(s.at)+" is not a number", "write it as 0.7")
	}
	n.Tag, n.Style, n.Value = "!!float", 0, strconv.FormatFloat(f, 'f', -1, 64)
	return inRange(r, s, f, parseDecimal)
}

func parseDecimal(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

func (r *reader) duration(n *yaml.Node, s slot) bool {
	d, err := time.ParseDuration(n.Value)
	if err != nil || d <= 0 {
		return r.spoil(s.at, r.show(s.at)+" is not a length of time", `write it as 500ms, 30s, 5m or 24h`)
	}
	n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
	return inRange(r, s, d, time.ParseDuration)
}

// inRange holds a value against the tag range:"least..most".
func inRange[T cmp.Ordered](r *reader, s slot, v T, parse func(string) (T, error)) bool {
	low, high, ok := strings.Cut(s.tag.Get("range"), "..")
	if !ok {
		return true
	}
	least, err1 := parse(low)
	most, err2 := parse(high)
	if err1 != nil || err2 != nil {
		panic("config: the range of " + string(s.at) + " cannot be read")
	}
	if v < least || v > most {
		return r.spoil(s.at, r.show(s.at)+" is out of range", "it must be "+low+" to "+high)
	}
	return true
}

// text checks the words and the form of a string and makes paths relative to
// the file.
func (r *reader) text(n *yaml.Node, s slot) bool {
	n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
	if words := s.tag.Get("enum"); words != "" {
		if list := strings.Split(words, "|"); !slices.Contains(list, n.Value) {
			return r.spoil(s.at, r.show(s.at)+" is not one of "+strings.Join(list, ", "), r.suggest(r.written[s.at], these(list)))
		}
	}
	kind := s.tag.Get("is")
	if n.Value == "" && kind != "any" {
		return r.spoil(s.at, "is empty", "give it a value or remove the key")
	}
	if message, fix := wrongForm(kind, n.Value); message != "" {
		return r.spoil(s.at, r.show(s.at)+" "+message, fix)
	}
	return r.path(n, s, kind)
}

// show quotes a scalar as the file has it: never what a reference stands for,
// and no address with credentials in it.
func (r *reader) show(p place) string {
	text := r.written[p]
	if strings.Contains(text, "://") && strings.Contains(text, "@") {
		return "the value"
	}
	return quote(text)
}
