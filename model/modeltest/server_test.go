package modeltest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/model/modeltest"
)

func post(t *testing.T, s *modeltest.Server, body string) (int, string) {
	t.Helper()
	res, err := http.Post(s.URL+"/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestQueuedRepliesComeOnceAndInOrderPerModel(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Queue("a", modeltest.Reply{Text: "one"}, modeltest.Reply{Text: "two"})
	s.Queue("b", modeltest.Reply{Text: "three"})
	s.Always("b", modeltest.Reply{Text: "four"})

	for _, r := range []struct{ model, want string }{{"b", "three"}, {"a", "one"}, {"a", "two"}, {"b", "four"}, {"b", "four"}} {
		if code, body := post(t, s, `{"model":"`+r.model+`"}`); code != 200 || !strings.Contains(body, `"`+r.want+`"`) {
			t.Errorf("%s: got %d %s, want %q", r.model, code, body, r.want)
		}
	}
	if code, _ := post(t, s, `{ "model": "a" }`); code != http.StatusNotFound {
		t.Errorf("got %d from an empty queue, want 404", code)
	}
	if s.Count() != 6 || s.Requests()[0].Model != "b" {
		t.Errorf("got %d requests, %+v", s.Count(), s.Requests())
	}
}

func TestChunksSplitTheText(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Always("a", modeltest.Reply{Text: "äbcdefghij", Chunks: 5})

	_, body := post(t, s, `{"model":"a"}`)

	for _, want := range []string{`"content":"äb"`, `"content":"ij"`, `"finish_reason":"stop"`, "data: [DONE]"} {
		if !strings.Contains(body, want) {
			t.Errorf("got %s, want %s in it", body, want)
		}
	}
}

func TestScriptSeesTheRequest(t *testing.T) {
	s := modeltest.NewServer(t)
	s.Handle("a", func(r modeltest.Request) modeltest.Reply {
		return modeltest.Reply{Text: string(r.Body[:8])}
	})

	if _, body := post(t, s, `{"model":"a"}`); !strings.Contains(body, `{\"model`) {
		t.Errorf("got %s", body)
	}
}
