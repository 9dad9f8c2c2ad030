package autogen

import (
	"fmt"
	"math"
	"time"

	"github.com/behalf-dev/behalf/config"
)

// conditions are the classes of terminations. They give nil for what has no
// meaning here, and say so.
func (im *importer) conditions() map[string]func(*part, *scope) *config.Termination {
	return map[string]func(*part, *scope) *config.Termination{
		"OrTerminationCondition": func(p *part, s *scope) *config.Termination {
			return im.combined(p, s, func(l []config.Termination) config.Termination { return config.Termination{Any: l} })
		},
		"AndTerminationCondition": func(p *part, s *scope) *config.Termination {
			return im.combined(p, s, func(l []config.Termination) config.Termination { return config.Termination{All: l} })
		},
		"MaxMessageTermination": func(p *part, _ *scope) *config.Termination {
			return &config.Termination{MaxMessages: &config.MaxMessages{Count: p.count("max_messages"), Events: p.truth("include_agent_event")}}
		},
		"TextMentionTermination": im.mention,
		"StopMessageTermination": func(*part, *scope) *config.Termination { return &config.Termination{StopMessage: true} },
		"TokenUsageTermination": func(p *part, _ *scope) *config.Termination {
			return &config.Termination{Tokens: &config.Tokens{Total: p.count("max_total_token"), Prompt: p.count("max_prompt_token"), Completion: p.count("max_completion_token")}}
		},
		"HandoffTermination": func(p *part, s *scope) *config.Termination {
			return &config.Termination{Handoff: im.receiver(p.text("target"), p.at, s)}
		},
		"TimeoutTermination":     im.timeout,
		"SourceMatchTermination": im.source,
		"TextMessageTermination": im.textMessage,
		"FunctionCallTermination": func(p *part, _ *scope) *config.Termination {
			return &config.Termination{Function: cleanTool(p.text("function_name"))}
		},
		"ExternalTermination":   func(p *part, _ *scope) *config.Termination { return im.noCondition(p, "CancelRun stops a run here") },
		"FunctionalTermination": func(p *part, _ *scope) *config.Termination { return im.noCondition(p, "functions are not in a file") },
	}
}

func (im *importer) condition(p *part, s *scope) *config.Termination {
	read := im.conditions()[p.class]
	if read == nil {
		im.bad(p.at, fmt.Sprintf("%s is not known here as a condition", p.class), "")
		return nil
	}
	t := read(p, s)
	p.done()
	return t
}

func (im *importer) noCondition(p *part, why string) *config.Termination {
	im.note(Lost, p.at, p.class+" is left out, and nothing stops here because of it: "+why)
	p.left = nil
	return nil
}

func (im *importer) combined(p *part, s *scope, as func([]config.Termination) config.Termination) *config.Termination {
	var list []config.Termination
	for _, c := range p.children("conditions") {
		if t := im.condition(c, s); t != nil {
			list = append(list, *t)
		}
	}
	if len(list) == 0 {
		return nil
	}
	t := as(list)
	return &t
}

func (im *importer) mention(p *part, s *scope) *config.Termination {
	m := &config.Mention{Text: p.text("text")}
	wanted := p.texts("sources")
	if m.Sources = im.sources(p, s, wanted); len(wanted) > 0 && len(m.Sources) == 0 {
		return im.noCondition(p, "nobody that it listens to is here")
	}
	if wanted == nil {
		im.note(Check, p.at, "AutoGen never exports its sources: if there were some, everybody's mention counts now, also that in the task")
	}
	return &config.Termination{Mention: m}
}

func (im *importer) source(p *part, s *scope) *config.Termination {
	if from := im.sources(p, s, p.texts("sources")); len(from) > 0 {
		return &config.Termination{Source: from}
	}
	return im.noCondition(p, "nobody that it listens to is here")
}

func (im *importer) textMessage(p *part, s *scope) *config.Termination {
	said := p.text("source")
	if said == "" {
		return &config.Termination{TextMessage: "*"}
	}
	if name, ok := s.source(said); ok {
		return &config.Termination{TextMessage: name}
	}
	return im.noCondition(p, "nobody that it listens to is here")
}

// sources leaves out who is never heard.
func (im *importer) sources(p *part, s *scope, said []string) []string {
	var names []string
	for _, one := range said {
		name, ok := s.source(one)
		if !ok {
			im.note(Lost, p.at, fmt.Sprintf("nobody here is %q", one))
			continue
		}
		names = append(names, name)
	}
	return names
}

func (im *importer) timeout(p *part, _ *scope) *config.Termination {
	d := p.seconds("timeout_seconds", time.Second)
	return &config.Termination{Timeout: d}
}

// seconds reads a length of time that is at least so long here.
func (p *part) seconds(key string, least time.Duration) time.Duration {
	var s float64
	if !p.take(key, &s, "a number of seconds") {
		return 0
	}
	if s <= 0 || s > math.MaxInt32 {
		p.bad(p.below(key), "is no length of time", "")
		return 0
	}
	d := time.Duration(s * float64(time.Second)).Round(time.Millisecond)
	if d < least {
		p.note(Lost, p.below(key), fmt.Sprintf("%s is the shortest here", least))
	}
	return max(d, least)
}
