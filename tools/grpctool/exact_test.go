package grpctool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// asking is a request of a few fields; one of its enums has two names for one value, as a
// release has that renames one.
func asking(t testing.TB, method string, fields ...string) *descriptorpb.FileDescriptorSet {
	t.Helper()
	set := setOf(t, `{"name":"ask.proto","package":"everything.v1","syntax":"proto3","dependency":["google/protobuf/wrappers.proto"],
		"enumType":[{"name":"Role","options":{"allowAlias":true},"value":[{"name":"NONE","number":0},{"name":"ADMIN","number":1},{"name":"ROOT","number":1}]}],
		"messageType":[{"name":"Ask","field":[`+strings.Join(fields, ",")+`]}],
		"service":[{"name":"EverythingService","method":[{"name":"`+method+`","inputType":".everything.v1.Ask","outputType":".everything.v1.Ask"}]}]}`)
	set.File = append(set.File, protodesc.ToFileDescriptorProto(wrapperspb.File_google_protobuf_wrappers_proto))
	return set
}

// forbidden is a backend that is asked only for what policies do not forbid.
func forbidden(t *testing.T, when string, fields ...string) (w *world, asked *dynamicpb.Message) {
	t.Helper()
	w = newWorld(t)
	w.backend.set = asking(t, "Echo", fields...)
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { g.Facts = map[string]grpctool.Facts{"Echo": {Effect: tools.Read}} })
	w.reading(`@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"echo") when { ` + when + ` };`)
	asked = &dynamicpb.Message{}
	w.backend.say(func(_ context.Context, _ string, in *dynamicpb.Message, send func(proto.Message) error) error {
		*asked = *in
		return send(in)
	})
	return w, asked
}

func TestAValueIsNotSentByItsOtherName(t *testing.T) {
	w, asked := forbidden(t, `context.args has role && context.args.role == "ADMIN"`, `{"name":"role","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_ENUM","typeName":".everything.v1.Role"}`)

	for _, role := range []string{"ADMIN", "ROOT"} {
		if fin := w.call("echo", `{"role":"`+role+`"}`); !fin.Failed || asked.IsValid() {
			t.Errorf("%s: the backend was asked with %v: %s", role, asked, fin.Result)
		}
	}
	if fin := w.call("echo", `{"role":"NONE"}`); fin.Failed {
		t.Errorf("got %s", fin.Result)
	}
}

// TestALimitHoldsForWhatIsSent: a float is rounded, and to more than was allowed.
func TestALimitHoldsForWhatIsSent(t *testing.T) {
	for typ, most := range map[string]int64{
		`"TYPE_FLOAT"`:  1 << 24,
		`"TYPE_DOUBLE"`: 1<<53 - 1,
		`"TYPE_MESSAGE","typeName":".google.protobuf.FloatValue"`:  1 << 24,
		`"TYPE_MESSAGE","typeName":".google.protobuf.DoubleValue"`: 1<<53 - 1,
	} {
		w, asked := forbidden(t, `context.args has other`,
			`{"name":"amount","number":1,"label":"LABEL_OPTIONAL","type":`+typ+`}`, `{"name":"other","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_BOOL"}`)

		for _, n := range []int64{most + 3, -most - 3} {
			if fin := w.call("echo", fmt.Sprintf(`{"amount":%d}`, n)); !fin.Failed || asked.IsValid() {
				t.Errorf("%s: the backend was asked with %v for %d: %s", typ, asked, n, fin.Result)
			}
		}
		if fin := w.call("echo", fmt.Sprintf(`{"amount":%d}`, min(most, 1<<49))); fin.Failed { // decimals end before doubles
			t.Errorf("%s: got %s", typ, fin.Result)
		}
	}
}

func TestAPersonsIdIsSeenInAnyOfItsForms(t *testing.T) {
	for _, c := range []struct {
		method, field, typ string
		many, seen         bool
	}{
		{"GetUser", "id", "TYPE_INT32", false, true},
		{"GetUser", "id", "google.protobuf.Int32Value", false, true},
		{"Find", "customer_id", "google.protobuf.UInt32Value", false, true},
		{"Find", "customer_id", "google.protobuf.BoolValue", false, false},
		{"BatchGetUsers", "ids", "TYPE_STRING", true, true},
		{"DeleteCustomers", "ids", "TYPE_STRING", true, true},
		{"ListPeople", "id", "TYPE_STRING", false, true},
		{"Find", "email_addresses", "TYPE_STRING", true, true},
		{"Find", "max_users", "TYPE_INT32", false, false}, // how many
		{"Find", "ids", "TYPE_STRING", true, false},
	} {
		label, typ := "LABEL_OPTIONAL", `"type":"`+c.typ+`"`
		if c.many {
			label = "LABEL_REPEATED"
		}
		if !strings.HasPrefix(c.typ, "TYPE_") {
			typ = `"type":"TYPE_MESSAGE","typeName":".` + c.typ + `"`
		}
		raw, err := proto.Marshal(asking(t, c.method, `{"name":"`+c.field+`","number":1,"label":"`+label+`",`+typ+`}`))
		if err != nil {
			t.Fatal(err)
		}

		_, err = fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw })

		if seen := err != nil && strings.Contains(err.Error(), "looks like a person's id"); seen != c.seen {
			t.Errorf("%s.%s: got %v, want it asked for %v", c.method, c.field, err, c.seen)
		}
	}
}
