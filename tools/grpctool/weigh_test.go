package grpctool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// flagsFile has a message of many flags, which are in one oneof, and lists of it.
func flagsFile(flags int) string {
	var fields []string
	for i := range flags {
		fields = append(fields, fmt.Sprintf(`{"name":"f%d","number":%d,"label":"LABEL_OPTIONAL","type":"TYPE_BOOL","oneofIndex":0}`, i, i+1))
	}
	return `{"name":"flags.proto","package":"everything.v1","syntax":"proto3","dependency":["google/protobuf/any.proto"],"messageType":[
		{"name":"Ask","field":[{"name":"any","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".google.protobuf.Any"}]},
		{"name":"Item","oneofDecl":[{"name":"one"}],"field":[` + strings.Join(fields, ",") + `]},
		{"name":"Out","field":[{"name":"items","number":1,"label":"LABEL_REPEATED","type":"TYPE_MESSAGE","typeName":".everything.v1.Item"},
			{"name":"anys","number":2,"label":"LABEL_REPEATED","type":"TYPE_MESSAGE","typeName":".google.protobuf.Any"}]}],
		"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.Ask","outputType":".everything.v1.Out"}]}]}`
}

func flagged(t testing.TB) *grpctool.Source {
	t.Helper()
	raw, err := proto.Marshal(setOf(t, flagsFile(1900)))
	if err != nil {
		t.Fatal(err)
	}
	src, err := fixed(t, func(g *grpctool.Config) { g.DescriptorSet, g.Waived = raw, []string{"Echo.any"} })
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// bytesOf is a field of bytes, or a message.
func bytesOf(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// anyOf is an Any of what Echo gives, in the list of them.
func anyOf(value []byte) []byte {
	return bytesOf(2, append(bytesOf(1, []byte("x/everything.v1.Out")), bytesOf(2, value)...))
}

// TestWhatAnAnswerHasLookedAtIsBounded: each of these was answered, after seconds for which
// no deadline held.
func TestWhatAnAnswerHasLookedAtIsBounded(t *testing.T) {
	src := flagged(t)
	flag := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	empty := bytesOf(1, nil)
	for name, c := range map[string]struct {
		answer []byte
		most   bool
	}{
		"empty messages of many fields":                {bytes.Repeat(empty, 2_000), true},
		"they take two bytes each":                     {bytes.Repeat(empty, 3_000), false},
		"flags that take each other out":               {bytesOf(1, bytes.Repeat(flag, 1_000)), true},
		"they take two bytes each too":                 {bytesOf(1, bytes.Repeat(flag, 5_000)), false},
		"empty messages in an Any":                     {anyOf(bytes.Repeat(empty, 500)), true},
		"an Any is read twice":                         {anyOf(bytes.Repeat(empty, 3_000)), false},
		"many Anys that are not much by themselves":    {bytes.Repeat(anyOf(bytes.Repeat(empty, 100)), 30), false},
		"an Any in others is read for each of them":    {anyOf(anyOf(anyOf(bytes.Repeat(empty, 700)))), false},
		"a flag that is no flag is not what is looked": {bytesOf(1, bytes.Repeat(bytesOf(1, nil), 10)), true},
	} {
		out, err := src.Decode("echo", c.answer)

		switch {
		case c.most && err != nil:
			t.Errorf("%s: got %v, want it read", name, err)
		case !c.most && (err == nil || !strings.Contains(err.Error(), "too large")):
			t.Errorf("%s: got %.100s, %v, want it too large", name, out, err)
		}
	}
}

// TestWhatArgumentsHaveLookedAtIsBounded where they have an Any, of which there is no
// schema.
func TestWhatArgumentsHaveLookedAtIsBounded(t *testing.T) {
	src := flagged(t)
	for n, want := range map[int]bool{500: true, 10_000: false} {
		args := `{"any":` + typed("everything.v1.Out", `"items":[`+strings.Repeat("{},", n)+`{}]`) + `}`

		if _, err := src.Encode("echo", args); (err == nil) != want {
			t.Errorf("%d: got %v, want it taken %v", n, err, want)
		}
	}
}

// TestAStreamIsReadUntilItsTimeIsOver: what has come by then is still received, and each
// message may be as much as one can.
func TestAStreamIsReadUntilItsTimeIsOver(t *testing.T) {
	w := started(t, nil)
	sent := make(chan struct{})
	w.backend.say(func(_ context.Context, _ string, in *dynamicpb.Message, send func(proto.Message) error) error {
		defer close(sent)
		for range 50 {
			if err := send(in); err != nil {
				return err
			}
		}
		return nil
	})
	list, err := w.source.Tools()
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for i, call := range list {
		list[i].Call = func(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return call.Call(tools.WithProgress(ctx, func(tools.Progress) {
				<-sent
				cancel()
				read++
			}), args)
		}
	}
	w.behind(list...)

	fin := w.call("repeat", `{}`)

	if !fin.Failed || read != 1 {
		t.Errorf("%d messages were read, want one: %.200s", read, fin.Result)
	}
}
