package mcptool

import (
	"fmt"
	"strings"
)

const maxName = 64

// NameOf is what a server's tool is called here, unless the config says otherwise;
// empty: it can have no such name.
func NameOf(prefix, own string) string {
	name, _ := cleaned(prefix, own)
	return name
}

// cleaned is a server's name for a tool as one of ours, [a-z0-9_]{1,64}: a capital
// begins a word, and what is neither letter nor digit parts two. A name that is too
// long is refused and not cut: two could be one then.
func cleaned(prefix, name string) (string, error) {
	if len(name) > 4*maxName {
		return "", fmt.Errorf("its name has %d bytes", len(name))
	}
	var sb strings.Builder
	last := byte('_')
	for i := range len(name) {
		c := name[i]
		upper := c >= 'A' && c <= 'Z'
		if upper && (last >= 'a' && last <= 'z' || last >= '0' && last <= '9') && !isUpper(name, i-1) {
			sb.WriteByte('_')
		}
		if upper {
			c += 'a' - 'A'
		}
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			if last != '_' {
				sb.WriteByte('_')
			}
			last = '_'
			continue
		}
		sb.WriteByte(c)
		last = c
	}
	out := strings.TrimRight(sb.String(), "_")
	if out == "" {
		return "", fmt.Errorf("its name has no letter or digit")
	}
	if out = prefix + out; len(out) > maxName {
		return "", fmt.Errorf("its name is longer than %d", maxName)
	}
	return out, nil
}

func isUpper(s string, i int) bool { return i >= 0 && s[i] >= 'A' && s[i] <= 'Z' }
