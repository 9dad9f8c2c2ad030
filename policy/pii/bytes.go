package pii

import (
	"strings"
	"unicode/utf8"
)

// set256 is a set of bytes.
type set256 [256]bool

func bytesOf(chars string) (s set256) {
	for i := range len(chars) {
		s[chars[i]] = true
	}
	return s
}

const (
	digits  = "0123456789"
	uppers  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowers  = "abcdefghijklmnopqrstuvwxyz"
	letters = uppers + lowers
)

var (
	token  = bytesOf(letters + digits + "_-")
	local  = bytesOf(letters + digits + "._%+-")
	valued = bytesOf(letters + digits + "!#$%&*+-/=?@^_~.:|")
)

// kinds tells letters (1) and digits (2) from the rest.
var kinds = func() (k [256]uint8) {
	for i := range len(letters) {
		k[letters[i]] = 1
	}
	for i := range len(digits) {
		k[digits[i]] = 2
	}
	return k
}()

// wide is how the full-width digits begin.
const wide = "\xef\xbc"

// digitAt reads a digit, plain or full-width: its value and how long it is; -1 for
// none, 0 and undecided where the text ends inside it.
func (p place) digitAt(i int) (value, size int) {
	switch {
	case i >= len(p.text):
		return -1, 0
	case p.text[i] >= '0' && p.text[i] <= '9':
		return int(p.text[i] - '0'), 1
	case p.text[i] != wide[0] || i+3 > len(p.text) || p.text[i+1] != wide[1]:
		return -1, 0
	}
	if v := int(p.text[i+2]) - 0x90; v >= 0 && v <= 9 {
		return v, 3
	}
	return -1, 0
}

// Characters that people, and those who hide something, put between digits.
var separators = []string{
	" ", "-", ".", "/", "\u00a0", "\u00ad", "\u2007", "\u2009", "\u200b", "\u200c", "\u200d", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u202f", "\u2060", "\u2212", "\ufeff",
}

// separatorAt is the length of the separator at i: 0 for none, less than 0 if the
// text ends inside what may be one.
func (p place) separatorAt(i int) int {
	if i >= len(p.text) {
		return 0
	}
	if c := p.text[i]; c < utf8.RuneSelf {
		if c == ' ' || c == '-' || c == '.' || c == '/' {
			return 1
		}
		return 0
	}
	if !p.final && !utf8.FullRuneInString(p.text[i:]) {
		return -1
	}
	for _, sep := range separators[4:] {
		if strings.HasPrefix(p.text[i:], sep) {
			return len(sep)
		}
	}
	return 0
}

// maxGap is how many separators may stand between two digits.
const maxGap = 3

// gap is what stands between two groups of digits: how long it is, whether the
// text ends in it.
func (p place) gap(i int, also string) (length int, open bool) {
	start := i
	for range maxGap {
		n := p.separatorAt(i)
		if n == 0 && i < len(p.text) && strings.IndexByte(also, p.text[i]) >= 0 {
			n = 1
		}
		if n < 0 {
			return i - start, true
		}
		if n == 0 {
			break
		}
		i += n
	}
	return i - start, i >= len(p.text) || p.cut(i)
}

// cut reports whether the text ends inside the character at i.
func (p place) cut(i int) bool {
	return p.text[i] >= utf8.RuneSelf && !utf8.FullRuneInString(p.text[i:])
}

// group is a run of digits inside a number: how many digits it and those before
// have, and where it ends.
type group struct{ size, total, end int }

// number is digits in groups.
type number struct {
	digits [20]byte
	groups [20]group
	n      int  // groups
	open   bool // the text ends where more may belong to it
}

// numberAt reads at most limit digits with gaps between; also are further
// characters that a gap may have. A group that goes on beyond limit is no group.
func (p place) numberAt(limit int, also string) (num number) {
	i, total := p.i, 0
	for {
		size := 0
		for {
			v, n := p.digitAt(i)
			if v < 0 {
				break
			}
			if total == limit {
				return num
			}
			num.digits[total] = byte(v)
			i, total, size = i+n, total+1, size+1
		}
		if size == 0 {
			return num
		}
		num.groups[num.n] = group{size, total, i}
		num.n++
		if i >= len(p.text) || p.cut(i) {
			num.open = true
			return num
		}
		length, open := p.gap(i, also)
		if open {
			num.open = total < limit
			return num
		}
		if length == 0 || total == limit {
			return num
		}
		i += length
	}
}
