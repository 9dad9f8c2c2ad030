package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	openai "github.com/sashabaranov/go-openai"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// floor relays a model's stream and runs its tool, and does nothing else.
type floor struct {
	behalfv1.UnimplementedAgentServiceServer
	client *openai.Client
}

func serveFloor(l net.Listener, t *tls.Config, modelURL string) error {
	c := openai.DefaultConfig("none")
	c.BaseURL = modelURL
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(t)))
	behalfv1.RegisterAgentServiceServer(s, &floor{client: openai.NewClientWithConfig(c)})
	return s.Serve(l)
}

func (f *floor) StreamAgent(r *behalfv1.StreamAgentRequest, out grpc.ServerStreamingServer[behalfv1.StreamAgentResponse]) error {
	messages := []openai.ChatCompletionMessage{
		{Role: "system", Content: "You are a helpful agent."},
		{Role: "user", Content: r.GetInput()},
	}
	for {
		calls, err := f.turn(out.Context(), modelOf(r), messages, out)
		if err != nil || len(calls) == 0 {
			return err
		}
		messages = append(messages, openai.ChatCompletionMessage{Role: "assistant", ToolCalls: calls})
		for _, c := range calls {
			result, err := lookup(c.Function.Arguments)
			if err != nil {
				return err
			}
			messages = append(messages, openai.ChatCompletionMessage{Role: "tool", ToolCallID: c.ID, Content: result})
		}
	}
}

// modelOf is the script's name: each script has an agent of its own.
func modelOf(r *behalfv1.StreamAgentRequest) string { return scriptOf(r.GetAgent()).name() }

func (f *floor) turn(ctx context.Context, model string, messages []openai.ChatCompletionMessage, out grpc.ServerStreamingServer[behalfv1.StreamAgentResponse]) ([]openai.ToolCall, error) {
	stream, err := f.client.CreateChatCompletionStream(ctx, openai.ChatCompletionRequest{
		Model: model, Messages: messages, Stream: true,
		Tools: []openai.Tool{{Type: "function", Function: &openai.FunctionDefinition{Name: "lookup", Parameters: json.RawMessage(lookupSchema)}}},
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	var calls []openai.ToolCall
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return calls, nil
		}
		if err != nil {
			return nil, err
		}
		for _, c := range r.Choices {
			calls = append(calls, c.Delta.ToolCalls...)
			if c.Delta.Content == "" {
				continue
			}
			ev := &behalfv1.Event{Source: "floor", Body: &behalfv1.Event_TextDelta{TextDelta: &behalfv1.TextDelta{Text: c.Delta.Content}}}
			if err := out.Send(&behalfv1.StreamAgentResponse{Event: ev}); err != nil {
				return nil, err
			}
		}
	}
}

const lookupSchema = `{"type":"object","properties":{"id":{"type":"string"}},"required":["id"],"additionalProperties":false}`

type customer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	SSN  string `json:"ssn"`
}

// lookup is the one tool, for the floor.
func lookup(args string) (string, error) {
	var in struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(args), &in); err != nil {
		return "", err
	}
	b, err := json.Marshal(customer{in.ID, "Ines Moreau", "078-05-1120"})
	return string(b), err
}
