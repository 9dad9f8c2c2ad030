package arguments

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	ErrInvalid     = errors.New("arguments")
	errTooDeep     = errors.New("JSON is nested too deeply")
	errTrailing    = errors.New("there is more than one JSON value")
	errNull        = errors.New("null stands where a value is required")
	errNotInEnum   = errors.New("the value is not one of the allowed ones")
	errNotAnInt    = errors.New("the number is not a whole number of 64 bits")
	errNotADecimal = errors.New("the number is not a decimal with at most four places")
	errMissing     = errors.New("a required member is missing")
	errNoMember    = errors.New("the schema has no such member")
	errNotBase64   = errors.New("the text is not base64")
)

// Purpose says what becomes of arguments that were read.
type Purpose uint8

const (
	CheckOnly Purpose = iota // no policy looks at them: check every value, build nothing
	Build
)

// readArguments turns JSON that a model wrote into a Cedar record, by the types
// of the schema alone. Cedar's own decoder would take {"__entity":…} for a
// reference, so it never sees these bytes.
func Read(readers *Readers, t *Type, args json.RawMessage, why Purpose) (cedar.Record, error) {
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	r := readers.take(args, why)
	defer readers.put(r)
	v, err := r.value(t)
	if err == nil {
		err = atEnd(&r.Decoder)
	}
	if err != nil {
		return cedar.Record{}, fmt.Errorf("%w%s: %w", ErrInvalid, r.StackPointer(), err)
	}
	rec, ok := v.(cedar.Record)
	if !ok {
		return cedar.Record{}, errNull
	}
	return rec, nil
}

// argReader reads one document of arguments.
type argReader struct {
	jsontext.Decoder
	input   bytes.Buffer
	why     Purpose
	scratch Scratch
}

// readerPool keeps readers, whose tables of names are worth more than a small
// document. The zero value is empty; many goroutines may use it.
type Readers struct{ pool sync.Pool }

func (p *Readers) take(args []byte, why Purpose) *argReader {
	r, ok := p.pool.Get().(*argReader)
	if !ok {
		r = &argReader{}
	}
	r.why = why
	r.input.Reset()
	r.input.Write(args)
	r.Reset(&r.input)
	return r
}

func (p *Readers) put(r *argReader) {
	r.scratch.Forget()
	p.pool.Put(r)
}

func atEnd(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

func badJSON(err error) error { return fmt.Errorf("read JSON: %w", err) }

// value gives nil for null and for what policies cannot see.
func (d *argReader) value(t *Type) (cedar.Value, error) {
	if t.kind == opaque {
		return nil, d.skip()
	}
	tok, err := d.ReadToken()
	if err != nil {
		return nil, badJSON(err)
	}
	if tok.Kind() == 'n' {
		return nil, nil
	}
	if tok.Kind() != t.kind.token() && (t.kind != boolean || tok.Kind() != 'f') && (!t.either || tok.Kind() != '"') {
		return nil, fmt.Errorf("a %s stands where the schema says otherwise", tok.Kind())
	}
	switch t.kind {
	case record:
		return d.record(t)
	case set:
		s, _, err := d.set(t)
		return s, err
	case boolean:
		return cedar.Boolean(tok.Bool()), nil
	}
	if t.either && tok.Kind() == '"' {
		return quotedLong(tok.String())
	}
	return readScalar(tok.String(), t)
}

// token is the JSON that a kind is written in.
func (k kind) token() jsontext.Kind {
	switch k {
	case text, blob:
		return '"'
	case long, decimal:
		return '0'
	case boolean:
		return 't'
	case set:
		return '['
	}
	return '{'
}

func readScalar(s string, t *Type) (cedar.Value, error) {
	switch t.kind {
	case long:
		return readLong(s)
	case decimal:
		return readDecimal(s)
	case blob:
		return readBlob(s)
	}
	if t.enum != nil && !slices.Contains(t.enum, s) {
		return nil, errNotInEnum
	}
	return cedar.String(s), nil
}

func readLong(s string) (cedar.Value, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, errNotAnInt
	}
	return cedar.Long(n), nil
}

// quotedLong has one spelling for each number: what reads "+5" or "05" for 5 is not
// everybody.
func quotedLong(s string) (cedar.Value, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		return nil, errNotAnInt
	}
	return cedar.Long(n), nil
}

// readDecimal goes from text to decimal; a float in between would round, and
// make NaN the smallest of all numbers.
func readDecimal(s string) (cedar.Value, error) {
	if strings.ContainsAny(s, "eE") {
		return nil, errNotADecimal
	}
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	d, err := types.ParseDecimal(s)
	if err != nil {
		return nil, errNotADecimal
	}
	return d, nil
}

func readBlob(s string) (cedar.Value, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // which the library passes over, and others do not
		return nil, errNotBase64
	}
	sum := sha256.Sum256(b)
	return cedar.NewRecord(cedar.RecordMap{
		"length": cedar.Long(len(b)),
		"sha256": cedar.String(hex.EncodeToString(sum[:])),
	}), nil
}

// set also counts, because Cedar's sets forget how many there were.
func (d *argReader) set(t *Type) (s cedar.Set, length int, err error) {
	if d.StackDepth() > maxDepth {
		return s, 0, errTooDeep
	}
	var values []cedar.Value
	for d.PeekKind() != ']' {
		v, err := d.value(t.elem)
		if err != nil {
			return s, 0, err
		}
		if v == nil && t.elem.visible() {
			return s, 0, errNull
		}
		length++
		if v != nil && d.why == Build {
			values = append(values, v)
		}
	}
	_, err = d.ReadToken()
	return cedar.NewSet(values...), length, err
}

func (d *argReader) record(t *Type) (cedar.Value, error) {
	if d.StackDepth() > maxDepth {
		return nil, errTooDeep
	}
	var m cedar.RecordMap
	if d.why == Build {
		m = d.scratch.Open()
	}
	required := t.required
	for d.PeekKind() != '}' {
		f, err := d.member(t, m)
		if err != nil {
			return nil, err
		}
		if f.typ != nil && !f.optional {
			required--
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, badJSON(err)
	}
	if required > 0 {
		return nil, errMissing
	}
	if m == nil {
		return cedar.Record{}, nil
	}
	return d.scratch.Close(), nil
}

// member reads one member into m and tells which field it was. A required field
// that is null counts as missing.
func (d *argReader) member(t *Type, m cedar.RecordMap) (argField, error) {
	tok, err := d.ReadToken() // a duplicate name is an error here
	if err != nil {
		return argField{}, badJSON(err)
	}
	name := tok.String()
	f, ok := t.fields[name]
	switch {
	case !ok && !t.open:
		return f, errNoMember
	case !ok:
		return f, d.skip()
	case !f.optional && d.PeekKind() == 'n' && f.typ.kind != opaque:
		return f, errNull
	case f.typ.kind == set && d.PeekKind() == '[':
		return f, d.array(t, name, m)
	}
	v, err := d.value(f.typ)
	if v != nil && m != nil {
		m[cedar.String(name)] = v
	}
	return f, err
}

func (d *argReader) array(t *Type, name string, m cedar.RecordMap) error {
	if _, err := d.ReadToken(); err != nil {
		return badJSON(err)
	}
	elems := t.fields[name].typ
	values, length, err := d.set(elems)
	if err != nil || m == nil {
		return err
	}
	if attr, ok := t.lengthOf(name); ok {
		m[attr] = cedar.Long(length)
	}
	if elems.visible() {
		m[cedar.String(name)] = values
	}
	return nil
}

// skip passes over a value that policies cannot see, with the same depth limit
// as for the others.
func (d *argReader) skip() error {
	base := d.StackDepth()
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return badJSON(err)
		}
		if d.StackDepth() > maxDepth {
			return errTooDeep
		}
		if k := tok.Kind(); d.StackDepth() == base && k != '{' && k != '[' {
			return nil
		}
	}
}
