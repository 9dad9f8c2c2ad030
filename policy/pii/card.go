package pii

// The shortest and the longest card number.
const (
	minCard = 12
	maxCard = 19
)

// findCard takes the number of a payment card, in one piece, in groups, or digit
// by digit.
func findCard(p place) match {
	if p.afterDigit() {
		return nothing
	}
	num := p.numberAt(maxCard, "")
	if num.open && !p.final {
		return waiting
	}
	spelled, grouped := true, true
	best := 0
	for k, g := range num.groups[:num.n] {
		spelled = spelled && g.size == 1
		if (spelled || grouped) && g.total >= minCard && issued(num.digits[:g.total]) && luhn(num.digits[:g.total]) {
			best = g.end - p.i
		}
		grouped = grouped && g.size >= 3 && (k > 0 || g.size >= 4)
	}
	return match{best, noTail}
}

// issued reports whether an issuer has such numbers: the beginning, and how long
// they then are.
func issued(d []byte) bool {
	two := int(d[0])*10 + int(d[1])
	four := two*100 + int(d[2])*10 + int(d[3])
	n := len(d)
	switch {
	case two == 34 || two == 37:
		return n == 15
	case two == 30 || two == 36 || two == 38 || two == 39:
		return n >= 14
	case two == 35:
		return n >= 16
	case d[0] == 4:
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55:
		return n == 16
	case four >= 2200 && four <= 2204, four >= 2221 && four <= 2720:
		return n >= 16
	case two == 50 || two >= 56 && two <= 69:
		return true
	case four == 9792:
		return n == 16
	case d[0] == 1:
		return n == 15
	}
	return false
}

// luhn is the check digit of ISO/IEC 7812, over digits or their values.
func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i] & 0x0f)
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}
