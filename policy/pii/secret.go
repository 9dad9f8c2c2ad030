package pii

import "strings"

// key is a form of tokens that can be told by how they begin.
type key struct {
	prefix string
	least  int    // characters of the token behind the prefix
	chars  set256 // that these are
	tail   tail   // what follows them and belongs to the token
}

// keys are the forms that issuers document.
var keys = func() (all []key) {
	plain := func(least int, prefixes ...string) {
		for _, p := range prefixes {
			all = append(all, key{p, least, token, tokenTail})
		}
	}
	upperCase := bytesOf(uppers + digits)
	for _, p := range []string{"AKIA", "ASIA", "ABIA", "ACCA"} { // AWS
		all = append(all, key{p, 16, upperCase, tokenTail})
	}
	plain(20, "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_")                // GitHub
	plain(16, "glpat-", "gldt-", "glrt-", "glptt-", "glcbt-")                       // GitLab
	plain(10, "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-")        // Slack
	plain(10, "sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_")             // Stripe
	plain(20, "sk-")                                                                // OpenAI, Anthropic and who follows them
	plain(30, "AIza")                                                               // Google
	plain(20, "npm_", "hf_", "gsk_", "r8_", "pypi-", "dop_v1_", "doo_v1_", "figd_") // registries and hosts
	plain(20, "shpat_", "shpss_", "shpca_", "shppa_", "sq0atp-", "sq0csp-", "EAAA") // shops
	plain(20, "hvs.", "hvb.", "hvr.", "dapi", "lin_api_", "ATATT3", "PMAK-", "nvapi-", "xai-", "AGE-SECRET-KEY-1")
	for _, p := range []string{"SG.", "ya29."} { // SendGrid, Google
		all = append(all, key{p, 20, bytesOf(letters + digits + "_-."), dottedTail})
	}
	return all
}()

// keysBy lists the keys, and what else has a beginning of its own, by the first
// byte.
var keysBy = func() (by [256][]key) {
	for _, k := range keys {
		by[k.prefix[0]] = append(by[k.prefix[0]], k)
	}
	by['e'] = append(by['e'], key{prefix: jwt})
	by['-'] = append(by['-'], key{prefix: begin})
	return by
}()

const (
	// jwt is how a JSON object begins in base64url: the header of a JWS or JWE.
	jwt       = "eyJ"
	minHeader = 8
	// maxHeader is where it counts as a token though no dot has come yet.
	maxHeader = 768
	begin     = "-----BEGIN "
)

// findKey takes tokens by how they begin, JWTs and private keys.
func findKey(p place) match {
	if p.text[p.i] != '-' && !p.fresh() {
		return nothing
	}
	answer := nothing
	for i := range keysBy[p.text[p.i]] {
		k := &keysBy[p.text[p.i]][i]
		var hit match
		switch {
		case strings.HasPrefix(p.rest(), k.prefix):
			hit = p.body(k)
		case strings.HasPrefix(k.prefix, p.rest()):
			hit = p.end()
		}
		if hit.length > 0 {
			return hit
		}
		if hit.length < 0 {
			answer = hit
		}
	}
	return answer
}

// body looks at what follows a prefix.
func (p place) body(k *key) match {
	switch k.prefix {
	case jwt:
		return p.jwt()
	case begin:
		return p.privateKey()
	}
	n := len(k.prefix)
	for ; n < len(k.prefix)+k.least; n++ {
		if p.i+n >= len(p.text) {
			return p.end()
		}
		if !k.chars[p.text[p.i+n]] {
			return nothing
		}
	}
	return match{n, k.tail}
}

func (p place) jwt() match {
	n := len(jwt)
	for ; n < maxHeader; n++ {
		if p.i+n >= len(p.text) {
			return p.end()
		}
		if !token[p.text[p.i+n]] {
			break
		}
	}
	switch {
	case n >= maxHeader:
		return match{n, dottedTail}
	case p.text[p.i+n] != '.' || n < len(jwt)+minHeader:
		return nothing
	case p.i+n+1 >= len(p.text):
		return p.end()
	}
	// The second part of a JWE may be empty.
	if c := p.text[p.i+n+1]; c != '.' && !token[c] {
		return nothing
	}
	return match{n + 2, dottedTail}
}

// maxLabel bounds what a PEM block may be called.
const maxLabel = 48

func (p place) privateKey() match {
	const dashes = "-----"
	label := p.rest()[len(begin):]
	label = label[:min(len(label), maxLabel+len(dashes))]
	n := strings.Index(label, dashes)
	switch {
	case n < 0 && len(label) < maxLabel+len(dashes):
		return p.end()
	case n < 0 || !strings.Contains(label[:n], "PRIVATE KEY"):
		return nothing
	}
	return match{len(begin) + n + len(dashes), pemTail}
}

// namedSecrets end the names of what is secret.
var namedSecrets = []string{
	"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "api_key", "api-key", "accesskey", "access_key", "access-key",
	"secretkey", "secret_key", "secret-key", "privatekey", "private_key", "private-key", "credential", "credentials",
}

// Bounds of a value that is secret by its name.
const (
	minValue  = 8
	minBearer = 16
	maxValue  = 256
)

// findNamed takes values that are secret because of what stands before them:
// password=…, "api_key": "…", Bearer …, and the password of a URL.
func findNamed(p place) match {
	before := p.text[max(0, p.i-behind):p.i]
	if before == "" || valued[before[len(before)-1]] && !strings.ContainsRune(":=/", rune(before[len(before)-1])) {
		return nothing
	}
	if strings.HasSuffix(before, "://") {
		return p.userinfo()
	}
	name := strings.TrimRight(before, " \t\"'\\`*")
	if len(name) == 0 {
		return nothing
	}
	if last := name[len(name)-1]; last == ':' || last == '=' {
		name = strings.TrimRight(name[:len(name)-1], " \t\"'\\`*")
		if isSecret(name) {
			return p.value(minValue)
		}
		return nothing
	}
	if hasSuffixFold(name, "bearer") || hasSuffixFold(name, "basic") {
		return p.value(minBearer)
	}
	return nothing
}

func isSecret(name string) bool {
	for _, n := range namedSecrets {
		if hasSuffixFold(name, n) {
			return true
		}
	}
	return false
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// value is a secret if it is long enough and not a word: it has letters and what
// is none.
func (p place) value(least int) match {
	n, letter, other := 0, false, false
	for ; n < maxValue; n++ {
		if p.i+n >= len(p.text) {
			if !p.final {
				return waiting
			}
			break
		}
		c := p.text[p.i+n]
		if !valued[c] {
			break
		}
		isLetter := c|0x20 >= 'a' && c|0x20 <= 'z'
		letter, other = letter || isLetter, other || c >= '0' && c <= '9'
	}
	length := len(strings.TrimRight(p.text[p.i:p.i+n], ".:?!"))
	if n < maxValue && (length < least || !letter || !other) {
		return nothing
	}
	if n < maxValue {
		return match{length, noTail}
	}
	return match{n, valueTail}
}

// userinfo is user:password before the @ of a URL.
func (p place) userinfo() match {
	colon := false
	for n := range maxValue {
		if p.i+n >= len(p.text) {
			return p.end()
		}
		switch c := p.text[p.i+n]; {
		case c == '@' && colon:
			return match{n, noTail}
		case c == ':':
			colon = true
		case c <= ' ', c == '/', c == '?', c == '#', c == '"', c == '@', c >= 0x80:
			return nothing
		}
	}
	return nothing
}
