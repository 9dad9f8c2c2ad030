package wire_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// bodies lists every kind of event. TestEveryProtoBodyIsListed holds it complete.
var bodies = map[protoreflect.Name]agents.Body{
	"run_started": agents.RunStarted{}, "turn_started": agents.TurnStarted{}, "text_delta": agents.TextDelta{},
	"thought_delta": agents.ThoughtDelta{}, "tool_call_progress": agents.ToolCallProgress{}, "message": agents.Message{}, "tool_call_requested": agents.ToolCallRequested{},
	"tool_call_decided": agents.ToolCallDecided{}, "tool_call_finished": agents.ToolCallFinished{}, "handed_off": agents.HandedOff{},
	"speaker_selected": agents.SpeakerSelected{}, "plan_updated": agents.PlanUpdated{}, "memory_recalled": agents.MemoryRecalled{},
	"approval_requested": agents.ApprovalRequested{}, "approval_decided": agents.ApprovalDecided{}, "input_requested": agents.InputRequested{},
	"input_received": agents.InputReceived{}, "credential_required": agents.CredentialRequired{}, "run_finished": agents.RunFinished{},
}

func TestEveryProtoBodyIsListed(t *testing.T) {
	fields := (&behalfv1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range fields.Len() {
		if _, ok := bodies[fields.Get(i).Name()]; !ok {
			t.Errorf("event.proto has the body %s, which this test and perhaps Encode do not know", fields.Get(i).Name())
		}
	}
	if fields.Len() != len(bodies) {
		t.Errorf("event.proto has %d bodies, want %d", fields.Len(), len(bodies))
	}
}

func TestEveryFieldOfEveryBodySurvivesTheRoundTrip(t *testing.T) {
	for name, zero := range bodies {
		t.Run(string(name), func(t *testing.T) {
			for seed := range uint64(200) {
				want := event(zero, rand.New(rand.NewPCG(seed, 7)))
				switch b := want.Body.(type) {
				case agents.ApprovalDecided:
					b.Approved = b.Approved && !b.Expired // else nobody decided
					want.Body = b
				case agents.Message:
					for i := range b.Calls {
						b.Calls[i].Written = "" // lives in memory only
					}
				}

				got, err := roundTrip(&want)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d: event changed on the wire (-want +got):\n%s", seed, diff)
				}
			}
		})
	}
}

func TestBodyLandsInItsOwnField(t *testing.T) {
	for name, zero := range bodies {
		ev := event(zero, rand.New(rand.NewPCG(1, 1)))
		m := wire.Encode(&ev).ProtoReflect()
		if got := m.WhichOneof(m.Descriptor().Oneofs().ByName("body")).Name(); got != name {
			t.Errorf("%T was encoded as %s, want %s", zero, got, name)
		}
	}
}

func TestAbsentAndEmptyScopesOfAHandOffStayDifferent(t *testing.T) {
	for _, want := range []*[]string{nil, {}, {"crm.read"}} {
		ev := agents.Event{Body: agents.HandedOff{To: "billing", Scopes: want}}
		got, err := roundTrip(&ev)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Body.(agents.HandedOff).Scopes); diff != "" {
			t.Errorf("scopes changed, nil means not narrowed and empty means nothing (-want +got):\n%s", diff)
		}
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	unknown := &behalfv1.Event{Sequence: 3}
	unknown.ProtoReflect().SetUnknown(protoreflect.RawFields{0xa2, 0x06, 0x00}) // field 100: a body of a later version
	for name, in := range map[string]*behalfv1.Event{
		"no body":         {Sequence: 1},
		"nil":             nil,
		"later body":      unknown,
		"later decision":  {Body: &behalfv1.Event_ToolCallDecided{ToolCallDecided: &behalfv1.ToolCallDecided{Decision: 9}}},
		"no decision":     {Body: &behalfv1.Event_ToolCallDecided{ToolCallDecided: &behalfv1.ToolCallDecided{}}},
		"no role":         {Body: &behalfv1.Event_Message{Message: &behalfv1.Message{}}},
		"no message kind": {Body: &behalfv1.Event_Message{Message: &behalfv1.Message{Role: 1}}},
		"later kind":      {Body: &behalfv1.Event_Message{Message: &behalfv1.Message{Role: 1, Kind: 99}}},
		"no target kind":  {Body: &behalfv1.Event_RunStarted{RunStarted: &behalfv1.RunStarted{}}},
		"later tier":      {Body: &behalfv1.Event_RunStarted{RunStarted: &behalfv1.RunStarted{TargetKind: 1, Tier: 9}}},
		"empty part":      {Body: &behalfv1.Event_Message{Message: &behalfv1.Message{Role: 1, Kind: 1, Parts: []*behalfv1.Part{{}}}}},
	} {
		if _, err := wire.Decode(in); !errors.Is(err, wire.ErrUnknown) {
			t.Errorf("%s: got error %v, want ErrUnknown", name, err)
		}
	}
	if _, err := wire.Decode(&behalfv1.Event{Sequence: -1, Body: &behalfv1.Event_CredentialRequired{}}); err == nil {
		t.Error("a negative sequence was accepted")
	}
}

func TestUnknownReasonStaysAFailure(t *testing.T) {
	ev := agents.Event{Body: agents.RunFinished{StopReason: agents.StopFailed, Reason: "NOT_IN_THE_LIST"}}
	got, err := roundTrip(&ev)
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Body.(agents.RunFinished).Reason; r != string(fault.Internal) {
		t.Errorf("got reason %q, want INTERNAL", r)
	}
}

func TestApprovalIsApprovedOnlyWhenItSaysSo(t *testing.T) {
	for _, d := range []*behalfv1.ApprovalDecided{{}, {Decision: 2}, {Decision: 9}, {Expired: true}, {Expired: true, Decision: 1}} {
		got, err := wire.Decode(&behalfv1.Event{Body: &behalfv1.Event_ApprovalDecided{ApprovalDecided: d}})
		if err != nil {
			t.Fatal(err)
		}
		if got.Body.(agents.ApprovalDecided).Approved {
			t.Errorf("%v was read as an approval", d)
		}
	}
}

func TestOneDeltaIsOneAllocation(t *testing.T) {
	for _, body := range []agents.Body{agents.TextDelta{Text: "hello "}, agents.ThoughtDelta{Text: "hm "}} {
		ev := agents.Event{Time: time.Unix(1, 2), RunID: "run_a", SessionID: "ses_a", Source: "support", Chain: []string{"support"}, MessageID: "m1", Body: body}
		if n := testing.AllocsPerRun(100, func() { wire.Encode(&ev) }); n > 1 {
			t.Errorf("encoding a %T costs %v allocations, want 1", body, n)
		}
	}
}

// Hand-off messages carry the results of their author's calls as parts, where
// JSON is a success and text a failure.
func TestAHandOffMessageKeepsWhatItsAuthorDid(t *testing.T) {
	want := agents.Event{Body: agents.Message{
		Role: agents.RoleAssistant, Kind: agents.KindHandoff, Text: "take over", HandoffTo: "billing",
		Calls: []agents.CallRequest{{ID: "c1", Tool: "look", Arguments: "{}"}, {ID: "c2", Tool: "put", Arguments: "{}"}},
		Parts: []agents.Part{{JSON: "1"}, {Text: "no"}},
	}}

	got, err := roundTrip(&want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("message changed on the wire (-want +got):\n%s", diff)
	}
}

// FuzzDecode holds that what Decode accepts is stable: encoding it again and
// decoding that gives the same event.
func FuzzDecode(f *testing.F) {
	for _, zero := range bodies {
		ev := event(zero, rand.New(rand.NewPCG(3, 3)))
		raw, err := proto.Marshal(wire.Encode(&ev))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := &behalfv1.Event{}
		if proto.Unmarshal(raw, in) != nil || in.GetTime().CheckValid() != nil && in.GetTime() != nil {
			t.Skip("not a message of the schema")
		}
		first, err := wire.Decode(in)
		if err != nil {
			t.Skip("not a message of the schema")
		}

		second, err := roundTrip(&first)
		if err != nil {
			t.Fatalf("an accepted event cannot be read back: %v", err)
		}
		third, err := roundTrip(&second)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(second, third); diff != "" {
			t.Fatalf("event is not stable (-second +third):\n%s", diff)
		}
	})
}

func BenchmarkEncodeTextDelta(b *testing.B) {
	ev := agents.Event{Time: time.Unix(1, 2), RunID: "run_a", SessionID: "ses_a", Source: "support", Chain: []string{"support"}, MessageID: "m1", Body: agents.TextDelta{Text: "hello "}}
	b.ReportAllocs()
	for b.Loop() {
		wire.Encode(&ev)
	}
}

func roundTrip(e *agents.Event) (agents.Event, error) {
	raw, err := proto.Marshal(wire.Encode(e))
	if err != nil {
		return agents.Event{}, err
	}
	in := &behalfv1.Event{}
	if err := proto.Unmarshal(raw, in); err != nil {
		return agents.Event{}, err
	}
	return wire.Decode(in)
}

// event fills every field of the envelope and of a body of zero's type.
func event(zero agents.Body, r *rand.Rand) agents.Event {
	body := reflect.New(reflect.TypeOf(zero)).Elem()
	fill(body, r)
	var e agents.Event
	fill(reflect.ValueOf(&e).Elem(), r)
	e.Body = fix(body.Interface().(agents.Body), e.MessageID, r)
	return e
}

// fix puts values of closed lists in place, and the one field that body and
// envelope share.
func fix(b agents.Body, messageID string, r *rand.Rand) agents.Body {
	switch b := b.(type) {
	case agents.RunStarted:
		b.Tier = []string{"", "interactive", "background", "api", "subagent"}[r.IntN(5)]
		return b
	case agents.Message:
		b.Role = []agents.PromptRole{agents.RoleUser, agents.RoleAssistant}[r.IntN(2)]
		b.Kind = messageKinds[r.IntN(len(messageKinds))]
		b.Parts = parts(r)
		return b
	case agents.InputReceived:
		b.Parts = parts(r)
		return b
	case agents.ToolCallRequested:
		b.MessageID = messageID
		return b
	case agents.ToolCallDecided:
		b.Decision = []agents.Decision{agents.Allowed, agents.Denied, agents.Waiting}[r.IntN(3)]
		b.Reason = string(fault.PolicyDenied)
		return b
	case agents.ToolCallFinished:
		b.Reason = string(fault.OutcomeUnknown)
		return b
	case agents.RunFinished:
		b.Reason = string(fault.ModelUnavailable)
		return b
	}
	return b
}

var messageKinds = []agents.MessageKind{
	agents.KindText, agents.KindToolCalls, agents.KindToolSummary, agents.KindStructured, agents.KindHandoff, agents.KindStop,
}

func parts(r *rand.Rand) []agents.Part {
	return []agents.Part{{Text: "a"}, {JSON: `{"b":1}`}, {URI: "https://example.com/c"}}[:1+r.IntN(3)]
}

// fill gives every field a value that is not zero, so that a field without its
// line in Encode or Decode is found.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1+r.Int64N(4e9), r.Int64N(1e9)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d\u2028\"ü", r.IntN(1000)))
	case reflect.Float64:
		v.SetFloat(0.5 + r.Float64())
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + r.Int64N(1<<30))
	case reflect.Uint64:
		v.SetUint(1 + r.Uint64N(1<<40))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(3), 4))
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"team": "a", "ticket": fmt.Sprint(r.IntN(9))}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), r)
	case reflect.Interface:
	default:
		panic("fill: no value for " + v.Type().String())
	}
}
