package conformance_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// matches says whether a text fits a pattern, in which * is any text.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(parts, ".*") + `$`).MatchString(text)
}

// follow compares lines with what is expected, empty if they fit.
func follow(what string, want lines, got []string) string {
	at := 0
	for _, set := range want {
		end := min(at+len(set), len(got))
		if !fit(set, got[at:end]) {
			return fmt.Sprintf("%s: got\n%s\nwant\n%s\n(from line %d)", what, indent(got), want, at+1)
		}
		at = end
	}
	if at < len(got) {
		return fmt.Sprintf("%s: got\n%s\nwant\n%s\n(from line %d there is too much)", what, indent(got), want, at+1)
	}
	return ""
}

// fit pairs patterns with texts, in any order.
func fit(patterns, texts []string) bool {
	if len(patterns) != len(texts) {
		return false
	}
	left := slices.Clone(texts)
	for _, p := range patterns {
		i := slices.IndexFunc(left, func(text string) bool { return matches(p, text) })
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

func (l lines) String() string {
	var all []string
	for _, set := range l {
		all = append(all, strings.Join(set, "  |  "))
	}
	return indent(all)
}

func indent(lines []string) string {
	if len(lines) == 0 {
		return "\t(nothing)"
	}
	quoted := make([]string, len(lines))
	for i, line := range lines {
		quoted[i] = "\t" + strings.ReplaceAll(line, "\n", "⏎")
	}
	return strings.Join(quoted, "\n")
}

// each is a list as lines.
func each(texts []string) lines {
	var l lines
	for _, t := range texts {
		l = append(l, []string{t})
	}
	return l
}
