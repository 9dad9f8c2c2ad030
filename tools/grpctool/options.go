package grpctool

import (
	"slices"
	"strings"
	"unicode"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// said is what a backend says of its method by behalf.v1.tool.
func said(m protoreflect.MethodDescriptor) *behalfv1.ToolFacts {
	f, _ := proto.GetExtension(m.Options(), behalfv1.E_Tool).(*behalfv1.ToolFacts)
	return f
}

// saidOf is what a backend says of its field by behalf.v1.field.
func saidOf(fd protoreflect.FieldDescriptor) *behalfv1.FieldFacts {
	f, _ := proto.GetExtension(fd.Options(), behalfv1.E_Field).(*behalfv1.FieldFacts)
	return f
}

var (
	effects = map[behalfv1.ToolFacts_Effect]tools.Effect{
		behalfv1.ToolFacts_EFFECT_UNSPECIFIED: "", behalfv1.ToolFacts_EFFECT_READ: tools.Read, behalfv1.ToolFacts_EFFECT_WRITE: tools.Write,
	}
	risks = map[behalfv1.ToolFacts_Risk]string{
		behalfv1.ToolFacts_RISK_UNSPECIFIED: "", behalfv1.ToolFacts_RISK_LOW: "low", behalfv1.ToolFacts_RISK_MEDIUM: "medium", behalfv1.ToolFacts_RISK_HIGH: "high",
	}
	owners = map[behalfv1.FieldFacts_Owner]tools.Owner{
		behalfv1.FieldFacts_OWNER_UNSPECIFIED: "", behalfv1.FieldFacts_OWNER_SUBJECT: tools.OwnerSubject, behalfv1.FieldFacts_OWNER_EMAIL: tools.OwnerEmail, behalfv1.FieldFacts_OWNER_TENANT: tools.OwnerTenant,
	}
)

// unknown is what a value that we have no name for becomes: no fact, so that the
// registry refuses the tool.
const unknown = "unknown"

func effectOf(e behalfv1.ToolFacts_Effect) tools.Effect {
	if v, ok := effects[e]; ok {
		return v
	}
	return unknown
}

func riskOf(r behalfv1.ToolFacts_Risk) string {
	if v, ok := risks[r]; ok {
		return v
	}
	return unknown
}

func ownerOf(o behalfv1.FieldFacts_Owner) tools.Owner {
	if v, ok := owners[o]; ok {
		return v
	}
	return unknown
}

// people are the last words of a parameter that names a person, or what is a
// person's. The words before it count too: the id of get_customer is a customer_id.
var people = []string{
	"user", "user_id", "user_name", "username", "login", "uid", "customer", "customer_id", "customer_number", "client_id", "account", "account_id", "account_number",
	"person", "person_id", "member", "member_id", "owner", "owner_id", "subject_id", "principal", "principal_id", "profile_id", "employee", "employee_id",
	"patient", "patient_id", "subscriber_id", "holder_id", "contact_id", "email", "email_address", "mail_address", "phone_number", "msisdn", "ssn", "iban", "tenant", "tenant_id",
}

// longest is more than the longest of people has: the words before it say nothing.
const longest = 32

// personal reports whether a parameter looks like a person's id. One of many is one of a
// person too: ids of batch_get_users.
func personal(method string, path []string, repeated bool) bool {
	text := ""
	for i := len(path) - 1; i >= 0 && len(text) < longest; i-- {
		text = "_" + snake(path[i]) + text
	}
	if len(text) < longest {
		text = "_" + snake(method) + text
	}
	words := strings.Split(text, "_")
	for i, w := range words {
		if i < len(words)-1 || repeated {
			words[i] = singular(w)
		}
	}
	text = strings.Join(words, "_")
	return slices.ContainsFunc(people, func(p string) bool { return strings.HasSuffix(text, "_"+p) })
}

// singular is a word of a name for one of what it names, as people have it.
func singular(word string) string {
	switch {
	case word == "people":
		return "person"
	case strings.HasSuffix(word, "sses"):
		return strings.TrimSuffix(word, "es")
	case strings.HasSuffix(word, "ss"):
		return word
	}
	return strings.TrimSuffix(word, "s")
}

// parameter is a field of a request, or of a message in it.
type parameter struct {
	path []string
	fd   protoreflect.FieldDescriptor
}

// walk visits the parameters of a request. A message in itself is visited once.
type walk struct {
	on    map[protoreflect.FullName]bool // the messages on the way
	left  int                            // how many parameters may still come: a few messages can have very many ways
	visit func(parameter)
}

// parameters visits all parameters and tells how many there are. It is an error if
// they are too many, or too deep.
func parameters(md protoreflect.MessageDescriptor, visit func(parameter)) (int, error) {
	w := &walk{on: map[protoreflect.FullName]bool{}, left: maxNodes, visit: visit}
	w.message(md, nil)
	if w.left < 0 {
		return maxNodes, errLarge
	}
	return maxNodes - w.left, nil
}

func (w *walk) message(md protoreflect.MessageDescriptor, path []string) {
	if w.on[md.FullName()] || wellKnown[md.FullName()] != nil {
		return
	}
	w.on[md.FullName()] = true
	defer delete(w.on, md.FullName())
	for i := range md.Fields().Len() {
		if w.left--; w.left < 0 || len(path) >= maxNesting {
			w.left = -1
			return
		}
		fd := md.Fields().Get(i)
		at := append(path[:len(path):len(path)], string(fd.Name()))
		w.visit(parameter{at, fd})
		if fd.IsMap() {
			fd = fd.MapValue()
		}
		if fd.Message() != nil {
			w.message(fd.Message(), at)
		}
	}
}

// naming are the messages that are a text or a whole number.
var naming = map[protoreflect.FullName]bool{
	"google.protobuf.StringValue": true, "google.protobuf.BytesValue": true,
	"google.protobuf.Int32Value": true, "google.protobuf.Int64Value": true, "google.protobuf.UInt32Value": true, "google.protobuf.UInt64Value": true,
}

// names reports whether a value of the field can name anybody.
func (p parameter) names() bool {
	fd := p.fd
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.FloatKind, protoreflect.DoubleKind:
		return false
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return naming[fd.Message().FullName()]
	}
	return true
}

// loose reports whether a value of the field can have anything in it.
func (p parameter) loose() bool {
	fd := p.fd
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	if fd.Message() == nil {
		return false
	}
	_, is := shapeless[fd.Message().FullName()]
	return is
}

// snake is a name in snake case: GetHTTPStatus is get_http_status.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && runes[i-1] != '_' && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// trim is a comment without the spaces that its lines begin with.
func trim(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}
