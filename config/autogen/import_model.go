package autogen

import (
	"cmp"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/config"
)

// service is where a class of model clients asks, and the variable with its key.
type service struct{ url, key string }

// services are the classes of model clients whose servers speak the OpenAI
// protocol.
var services = map[string]service{
	"OpenAIChatCompletionClient":      {"https://api.openai.com/v1", "OPENAI_API_KEY"},
	"AnthropicChatCompletionClient":   {"https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"},
	"OllamaChatCompletionClient":      {"http://localhost:11434/v1", ""},
	"AzureOpenAIChatCompletionClient": {},
}

// openAI is the base URL that an export leaves out.
const openAI = "https://api.openai.com/v1"

// modelOf imports the model of an agent or team. The same one is made once.
func (im *importer) modelOf(s *seat) string {
	p := s.child("model_client")
	if p == nil {
		im.bad(s.at, "has no model_client", "")
		return ""
	}
	for p.class == "ChatCompletionCache" {
		im.note(Lost, p.at, "answers are not cached here")
		inner := p.child("client")
		if inner == nil {
			break
		}
		p = inner
	}
	return im.model(p)
}

// model finds a model that says the same, or adds one.
func (im *importer) model(p *part) string {
	m := config.Model{Model: p.text("model"), MaxTokens: p.count("max_tokens"), Timeouts: config.Timeouts{Total: p.seconds("timeout", time.Second)}}
	base := cmp.Or(clean(cmp.Or(p.label, m.Model)), "model")
	m.Model = cmp.Or(p.text("azure_deployment"), m.Model, "replay")
	var t float64
	if p.take("temperature", &t, "a number") {
		m.Temperature = &t
	}
	hasKey := im.endpoint(p, &m)
	p.skip("model_info", "model_capabilities", "add_name_prefixes", "include_name_in_message", "stream_options", "api_version")
	p.lose("not passed on to the model", "max_retries", "organization", "default_headers", "top_p", "seed", "stop", "n", "user", "frequency_penalty",
		"presence_penalty", "logit_bias", "response_format", "parallel_tool_calls", "reasoning_effort", "azure_ad_token", "azure_ad_token_provider")
	p.done()
	name := im.last.free(base, func(try string) bool {
		old, made := im.out.Models[try]
		same := made && hasKey != old.APIKey.IsZero()
		old.APIKey = config.Secret{}
		return slices.Contains(im.opt.Taken, try) || made && !(same && reflect.DeepEqual(old, m))
	})
	if _, made := im.out.Models[name]; !made {
		im.add(p.at, name, m, hasKey)
	}
	return name
}

// add says once what a model still needs.
func (im *importer) add(at, name string, m config.Model, hasKey bool) {
	switch {
	case m.BaseURL == "":
		im.note(Unbound, at, "models."+name+" needs a base_url (https, or this machine) and perhaps an api_key: the server does not start without")
	case hasKey:
		variable := keyFor(m.BaseURL, name)
		m.APIKey = config.NewSecret("${env:" + variable + "}")
		im.note(Secret, at, "set "+variable+" for models."+name+"; a key in the file is not copied, and one that was in a file should be renewed")
	}
	im.out.Models[name] = m
}

// endpoint says where the model is, and whether it has a key.
func (im *importer) endpoint(p *part, m *config.Model) (hasKey bool) {
	known, ok := services[p.class]
	if !ok {
		im.note(Lost, p.at, p.class+" is not known here")
		p.left = nil
		return false
	}
	inline := p.text("api_key") != ""
	m.BaseURL = strings.TrimRight(cmp.Or(im.address(p), known.url), "/")
	if !safe(m.BaseURL) {
		m.BaseURL = ""
		return false
	}
	return inline || !isLocal(m.BaseURL)
}

// keyFor is the variable with the key for a server: that of a service for the
// service itself only.
func keyFor(address, name string) string {
	for _, s := range services {
		if s.url == address && s.key != "" {
			return s.key
		}
	}
	return "AUTOGEN_" + strings.ToUpper(cleanTool(name)) + "_API_KEY"
}

// address is the server that a file names itself.
func (im *importer) address(p *part) string {
	own := p.text("base_url")
	if host := p.text("host"); host != "" {
		own = strings.TrimRight(host, "/") + "/v1"
	}
	if azure := p.text("azure_endpoint"); azure != "" {
		im.note(Check, p.at, "Azure is asked by its OpenAI v1 interface")
		own = strings.TrimRight(azure, "/") + "/openai/v1"
	}
	return own
}

// safe is what package config takes as a base_url.
func safe(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.Opaque == "" && u.Fragment == "" && u.RawQuery == "" && u.User == nil &&
		(u.Scheme == "https" || u.Scheme == "http" && isLocal(address))
}

func isLocal(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
