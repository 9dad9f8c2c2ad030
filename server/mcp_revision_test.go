package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// speak sends one request to the MCP face as a client of the revision does, and gives
// the result as it is on the wire.
func (w *world) speak(who person, revision, method, params string) (result map[string]any) {
	w.t.Helper()
	if revision >= "2026-07-28" { // each request says for itself who speaks
		params = fmt.Sprintf(`%s,"_meta":{"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientCapabilities":{}}}`, strings.TrimSuffix(params, "}"), revision)
		params = strings.Replace(params, "{,", "{", 1)
	}
	var p struct{ Name string }
	succeed(w.t, json.Unmarshal([]byte(params), &p))
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.http+"/mcp", strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)))
	succeed(w.t, err)
	r.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + w.token(w.idp, who, nil)},
		"Mcp-Protocol-Version": {revision}, "Mcp-Method": {method}, "Mcp-Name": {p.Name},
	}
	resp, err := http.DefaultClient.Do(r)
	succeed(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	succeed(w.t, err)
	var answer struct{ Result map[string]any }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Result == nil {
		w.t.Fatalf("%s in %s: got %d %s", method, revision, resp.StatusCode, text)
	}
	return answer.Result
}

// TestTheMCPFaceSpeaksEachRevision: clients of the newest one refuse a result that does
// not say that it is complete, or who may keep a list.
func TestTheMCPFaceSpeaksEachRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: withMCP})
	for revision, complete := range map[string]any{"2025-03-26": nil, "2025-06-18": nil, "2025-11-25": nil, "2026-07-28": "complete"} {
		list := w.speak(alice, revision, "tools/list", "{}")
		if list["resultType"] != complete || list["cacheScope"] != "private" || list["ttlMs"] != 0.0 {
			t.Errorf("%s: got a list with %v, %v, %v; it is one person's", revision, list["resultType"], list["cacheScope"], list["ttlMs"])
		}
		for call, failed := range map[string]bool{
			`{"name":"get_customer","arguments":{"customer_id":"C-1001"}}`: false,
			`{"name":"get_customer","arguments":{}}`:                       true,
			`{"name":"agent-support","arguments":{"input":"hello"}}`:       false,
			`{"name":"agent-nobody","arguments":{"input":"hello"}}`:        true,
		} {
			r := w.speak(alice, revision, "tools/call", call)
			if said, _ := r["isError"].(bool); r["resultType"] != complete || said != failed || r["content"] == nil {
				t.Errorf("%s: %s: got %v", revision, call, r)
			}
		}
	}
	about := w.speak(alice, "2026-07-28", "server/discover", "{}")
	if all, _ := about["supportedVersions"].([]any); !slices.Contains(all, any("2026-07-28")) || about["resultType"] != "complete" {
		t.Errorf("got %v", about)
	}
}

// TestAnMCPClientOfOthers is their newest: it refuses what the revision does not allow,
// which our own library does not.
func TestAnMCPClientOfOthers(t *testing.T) {
	t.Parallel()
	peer, script := filepath.Join("..", ".peers", "node"), ok(filepath.Abs("testdata/mcp_client.mjs"))(t)
	if _, err := os.Stat(filepath.Join(peer, "node_modules", "@modelcontextprotocol", "client")); err != nil {
		t.Skip("the client is not here: make peers (it wants npm)")
	}
	w := newWorld(t, setup{edit: withMCP})
	c := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", string(ok(os.ReadFile(script))(t)), "--", "http://"+w.http+"/mcp", "Bearer "+w.token(w.idp, alice, nil))
	c.Dir = peer // its packages are found from there
	text, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("got %v: %s", err, text)
	}

	var revisions []string
	for line := range strings.Lines(string(text)) {
		var got struct {
			Revision, Customer, Agent string
			Refused                   bool
			Tools, Told               []string
		}
		succeed(t, json.Unmarshal([]byte(line), &got))
		revisions = append(revisions, got.Revision)
		if got.Customer != "C-1001" || !got.Refused || got.Agent == "" || len(got.Told) == 0 || !slices.Contains(got.Tools, "agent-support") {
			t.Errorf("got %s", line)
		}
	}
	if want := []string{"2025-11-25", "2026-07-28", "2026-07-28"}; !slices.Equal(revisions, want) {
		t.Errorf("got the revisions %v, want %v", revisions, want)
	}
}
