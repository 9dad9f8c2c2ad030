package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// wrongForm says what is wrong with text of a kind, in words that follow the
// text, and what to write instead. It does not repeat the text.
func wrongForm(kind, text string) (message, fix string) {
	switch kind {
	case "name":
		return unless(isName(text), "is not a name", "use a-z, 0-9, _ and -, beginning with a letter, at most 64")
	case "tenant":
		return unless(isTenant(text), "is not a tenant", "use a-z, 0-9 and -, not beginning with -, at most 63")
	case "anytenant":
		return unless(text == "*" || isTenant(text), "is not a tenant", `use a-z, 0-9 and -, not beginning with -, at most 63, or "*" for a carrier of any tenant's users`)
	case "domain":
		return unless(isDomain(text), "is not a trust domain", "use a-z, 0-9, . - and _, in lower case, without spiffe://")
	case "scope":
		return wrongScope(text)
	case "tool":
		return unless(isTool(text), "is not the name of a tool", "use a-z, 0-9 and _, at most 64")
	case "toolref":
		return unless(isToolRef(text), "is not a reference to tools", "write the name of a tool, or toolset/*")
	case "listen":
		return wrongListen(text)
	case "spiffe":
		return wrongPattern(text)
	case "https":
		return wrongURL(text)
	}
	return "", ""
}

func unless(ok bool, message, fix string) (string, string) {
	if ok {
		return "", ""
	}
	return message, fix
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isMadeOf reports whether text has 1 to most bytes, all letters a-z, digits or
// one of the others.
func isMadeOf(text, others string, most int) bool {
	for _, c := range []byte(text) {
		if !isLower(c) && !isDigit(c) && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return text != "" && len(text) <= most
}

func isName(text string) bool   { return isMadeOf(text, "_-", 64) && isLower(text[0]) }
func isTenant(text string) bool { return isMadeOf(text, "-", 63) && text[0] != '-' }
func isTool(text string) bool   { return isMadeOf(text, "_", 64) }
func isDomain(text string) bool { return isMadeOf(text, ".-_", 255) }

func isToolRef(text string) bool {
	set, all := strings.CutSuffix(text, "/*")
	return all && isName(set) || !all && isTool(text)
}

// wrongScope holds a scope against RFC 6749 3.3.
func wrongScope(text string) (message, fix string) {
	if strings.Contains(text, "*") {
		return "is not a scope: there are no wildcards", "name each scope; leave the list out for no ceiling"
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return "is not a scope", "write one scope per entry, of printable characters without spaces"
		}
	}
	return "", ""
}

func wrongListen(text string) (message, fix string) {
	const write = "write host:port, for example 127.0.0.1:8443"
	host, port, ok := splitListen(text)
	if !ok {
		return "is not an address to listen on", write
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "has no port from 0 to 65535", write
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isMadeOf(strings.ToLower(host), ".-", 253) {
		return "has a host that is neither an address nor a name", write
	}
	return "", ""
}

func splitListen(text string) (host, port string, ok bool) {
	if rest, v6 := strings.CutPrefix(text, "["); v6 {
		host, port, ok = strings.Cut(rest, "]:")
		return host, port, ok && strings.Contains(host, ":")
	}
	host, port, ok = strings.Cut(text, ":")
	return host, port, ok && !strings.Contains(port, ":")
}

// isLocal reports whether what listens there can be reached from this machine
// only.
func isLocal(listen string) bool {
	host, _, _ := splitListen(listen)
	return isLocalHost(host)
}

func isLocalHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// wrongPattern holds a pattern of SPIFFE IDs against its rules: an exact
// segment, `*` for one, `**` at the end for one or more.
func wrongPattern(text string) (message, fix string) {
	const write = "write spiffe://trust-domain/segments; * stands for one segment, ** at the end for all that follow"
	rest, ok := strings.CutPrefix(text, "spiffe://")
	domain, path, has := strings.Cut(rest, "/")
	switch {
	case !ok || !isDomain(domain):
		return "is not a SPIFFE ID with a trust domain in lower case", write
	case !has:
		return "names a trust domain only", "to mean all of its workloads, say /** at the end"
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		last := i == len(segments)-1
		if s != "*" && (s != "**" || !last) && !isSegment(s) {
			return "has a path that no workload can have", write
		}
	}
	return "", ""
}

func isSegment(s string) bool {
	return s != "." && s != ".." && isMadeOf(strings.ToLower(s), "-._", 2048)
}

// wrongURL permits https, and http to this machine only.
func wrongURL(text string) (message, fix string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "":
		return "is not a URL", "write https://host/path"
	case u.User != nil:
		return "has credentials in it", "keep them out of the URL"
	case u.Scheme != "https" && (u.Scheme != "http" || !isLocalHost(u.Hostname())):
		return "is not https", "use https; http is for this machine only"
	}
	return "", ""
}

// clip shortens what somebody wrote and keeps it on one line.
func clip(text string) string {
	q := quote(text)
	return q[1 : len(q)-1]
}

func octal(m fs.FileMode) string { return fmt.Sprintf("%04o", m.Perm()) }
