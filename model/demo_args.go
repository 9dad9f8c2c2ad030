package model

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// argument is a call's arguments in the order of the file: strings are
// templates, other scalars stand for themselves.
type argument struct {
	whole  *phrase // the top is one string: the JSON text
	text   *phrase // a string
	json   string  // another scalar
	keys   []string
	values []*argument
	list   bool
}

func newArgument(n *yaml.Node) (*argument, error) {
	if n.Kind == 0 {
		return nil, nil //nolint:nilnil // no arguments
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		p, err := newPhrase(n.Value)
		return &argument{whole: p}, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: must be a mapping or a string of JSON", n.Line)
	}
	return newValue(n)
}

func newValue(n *yaml.Node) (a *argument, err error) {
	a = &argument{}
	switch n.Kind {
	case yaml.ScalarNode:
		return scalar(n)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			a.keys = append(a.keys, n.Content[i].Value)
			if err := a.add(n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return a, nil
	case yaml.SequenceNode:
		a.list = true
		for _, c := range n.Content {
			if err := a.add(c); err != nil {
				return nil, err
			}
		}
		return a, nil
	}
	return nil, fmt.Errorf("line %d: aliases are not for arguments", n.Line)
}

func (a *argument) add(n *yaml.Node) error {
	v, err := newValue(n)
	a.values = append(a.values, v)
	return err
}

func scalar(n *yaml.Node) (*argument, error) {
	if n.ShortTag() == "!!str" {
		p, err := newPhrase(n.Value)
		return &argument{text: p}, err
	}
	var v any
	if err := n.Load(&v); err != nil {
		return nil, err
	}
	s, err := quote(v)
	return &argument{json: s}, err
}

func (a *argument) render(view map[string]any) (string, error) {
	switch {
	case a == nil:
		return "{}", nil
	case a.whole != nil:
		return a.whole.render(view)
	case a.text != nil:
		s, err := a.text.render(view)
		if err != nil {
			return "", err
		}
		return quote(s)
	case a.json != "":
		return a.json, nil
	}
	return a.group(view)
}

// group writes an object or a list.
func (a *argument) group(view map[string]any) (string, error) {
	var parts []string
	for i, v := range a.values {
		s, err := v.render(view)
		if err != nil {
			return "", err
		}
		if !a.list {
			key, err := quote(a.keys[i])
			if err != nil {
				return "", err
			}
			s = key + ":" + s
		}
		parts = append(parts, s)
	}
	if a.list {
		return "[" + strings.Join(parts, ",") + "]", nil
	}
	return "{" + strings.Join(parts, ",") + "}", nil
}
