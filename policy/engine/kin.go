package engine

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// kin is what a record keeps of a resource beside its name, so that the decision
// can be made again: whose it is and what it is in.
type kin struct {
	Owner   string    `json:"owner,omitempty"`
	Parents []kindred `json:"parents,omitempty"`
}

type kindred struct {
	Type    string    `json:"type"`
	ID      string    `json:"id"`
	Parents []kindred `json:"parents,omitempty"`
}

// Kin is empty for what has no owner and no parents, and for tools, whose
// toolset the schema knows.
func (e Entity) Kin() string {
	if e.Type == string(TypeTool) || e.Owner == "" && len(e.Parents) == 0 {
		return ""
	}
	b, err := json.Marshal(kin{e.Owner, kindredOf(e.Parents)})
	if err != nil {
		return "" // texts alone cannot fail
	}
	return string(b)
}

func kindredOf(parents []Entity) (out []kindred) {
	for _, p := range parents {
		out = append(out, kindred{p.Type, p.ID, kindredOf(p.Parents)})
	}
	return out
}

var errNoEntity = errors.New("the row's resource cannot be read")

// ParseEntity reads an entity back from its name and its kin.
func ParseEntity(name, kinText string) (Entity, error) {
	kind, quoted, _ := strings.Cut(name, "::")
	id, err := strconv.Unquote(quoted)
	if err != nil {
		return Entity{}, errNoEntity
	}
	e := Entity{Type: kind, ID: id}
	if kinText == "" {
		return e, nil
	}
	var k kin
	if err := json.Unmarshal([]byte(kinText), &k); err != nil {
		return Entity{}, errNoEntity
	}
	e.Owner, e.Parents = k.Owner, entitiesOf(k.Parents)
	return e, nil
}

func entitiesOf(all []kindred) (out []Entity) {
	for _, k := range all {
		out = append(out, Entity{Type: k.Type, ID: k.ID, Parents: entitiesOf(k.Parents)})
	}
	return out
}

// Name prints the entity as Cedar does.
func (e Entity) Name() string {
	if e.Type == "" {
		return ""
	}
	return e.Type + "::" + strconv.Quote(e.ID)
}
