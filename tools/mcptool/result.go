package mcptool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/tools"
	jsonv2 "github.com/go-json-experiment/json"
)

const (
	maxItems    = 1000
	maxInlined  = 8 << 10 // bytes of an embedded text resource
	maxDescribe = 1 << 10 // bytes of a name, a URI, …
	maxFailure  = 4 << 10
)

// answer is a tools/call result. Its members are exact: decoding it the way of
// encoding/json would let a server say one thing to us and another to its log.
type answer struct {
	ResultType string          `json:"resultType"`
	Content    []item          `json:"content"`
	Structured json.RawMessage `json:"structuredContent"`
	IsError    bool            `json:"isError"`
	Asks       map[string]any  `json:"inputRequests"`
	State      string          `json:"requestState"`
}

type item struct {
	Type        string    `json:"type"`
	Text        string    `json:"text"`
	Data        string    `json:"data"`
	MIMEType    string    `json:"mimeType"`
	URI         string    `json:"uri"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Size        int64     `json:"size"`
	Resource    *embedded `json:"resource"`
}

type embedded struct {
	URI      string `json:"uri"`
	MIMEType string `json:"mimeType"`
	Text     string `json:"text"`
	Blob     string `json:"blob"`
}

// shown is an item as the model reads it, in the form of contentSchema.
type shown struct {
	Type        string `json:"type"`
	Text        string `json:"text,omitzero"`
	URI         string `json:"uri,omitzero"`
	Name        string `json:"name,omitzero"`
	Description string `json:"description,omitzero"`
	MIMEType    string `json:"mime_type,omitzero"`
	Bytes       int64  `json:"bytes,omitzero"`
	Truncated   bool   `json:"truncated,omitzero"`
}

// result is what the model gets of an answer: the structured content of a tool that has
// a schema for it, else the content with everything that is not text described. An error
// is the server's text, or errUnreadable.
func result(raw json.RawMessage, typed bool, check func() (func(json.RawMessage) error, error)) (json.RawMessage, error) {
	var a answer
	if err := jsonv2.Unmarshal(raw, &a); err != nil {
		return nil, errUnreadable
	}
	switch {
	case a.ResultType == "input_required" || a.Asks != nil:
		return nil, errors.New("the tool's server asks for more input, which it is not given")
	case len(a.Content) > maxItems:
		return nil, errUnreadable
	case a.IsError:
		return nil, errors.New(failureText(a.Content))
	}
	out, err := a.value(typed)
	if err != nil {
		return nil, err
	}
	return out, fits(out, check)
}

// value is what an answer that is no error has for the model. Where there is a schema
// nothing else stands in for what it describes: content would fit many a schema, and what
// is to be taken out of the result by its place would not be found in it.
func (a *answer) value(typed bool) (json.RawMessage, error) {
	out := a.Structured
	if string(out) == "null" {
		out = nil
	}
	if typed && len(out) == 0 {
		return nil, errUnstructured
	}
	if typed {
		return out, nil
	}
	if len(out) > 0 && len(a.Content) == 0 {
		a.Content = []item{{Type: "text", Text: string(out)}}
	}
	out, err := content(a.Content)
	if err != nil {
		return nil, errUnreadable
	}
	return out, nil
}

// fits holds a result to the schema that was accepted: what is redacted of it was
// checked against that.
func fits(out json.RawMessage, check func() (func(json.RawMessage) error, error)) error {
	fit, err := check()
	if err == nil {
		err = fit(out)
	}
	if err != nil {
		return errUnreadable
	}
	return nil
}

func failureText(items []item) string {
	var texts []string
	for i := range items {
		if items[i].Type == "text" && items[i].Text != "" {
			texts = append(texts, items[i].Text)
		}
	}
	if len(texts) == 0 {
		return "the tool failed"
	}
	return tools.Clean(strings.Join(texts, " "), maxFailure)
}

func content(items []item) (json.RawMessage, error) {
	out := struct {
		Content []shown `json:"content"`
	}{Content: []shown{}}
	for i := range items {
		s, err := items[i].show()
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, s)
	}
	return jsonv2.Marshal(out)
}

func (i *item) show() (shown, error) {
	mime, name := tools.Clean(i.MIMEType, maxDescribe), tools.Clean(i.Name, maxDescribe)
	switch i.Type {
	case "text":
		return shown{Type: "text", Text: i.Text}, nil
	case "image", "audio":
		return shown{Type: i.Type, MIMEType: mime, Bytes: decoded(i.Data)}, nil
	case "resource_link":
		return shown{Type: i.Type, URI: tools.Clean(i.URI, maxDescribe), Name: name, Description: tools.Clean(i.Description, maxDescribe), MIMEType: mime, Bytes: max(i.Size, 0)}, nil
	case "resource":
		if i.Resource != nil {
			return i.Resource.show(), nil
		}
	}
	return shown{}, fmt.Errorf("content of the type %q", tools.Clean(i.Type, 64))
}

// show describes an embedded resource. Of a text there is the beginning.
func (r *embedded) show() shown {
	s := shown{Type: "resource", URI: tools.Clean(r.URI, maxDescribe), MIMEType: tools.Clean(r.MIMEType, maxDescribe), Bytes: int64(len(r.Text))}
	if r.Blob != "" {
		s.Bytes = decoded(r.Blob)
		return s
	}
	s.Text = r.Text
	if len(s.Text) > maxInlined {
		s.Text, s.Truncated = strings.ToValidUTF8(s.Text[:maxInlined], ""), true
	}
	return s
}

// decoded is the size of what a base64 text holds.
func decoded(b64 string) int64 { return int64(len(strings.TrimRight(b64, "=")) * 3 / 4) }
