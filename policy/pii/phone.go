package pii

// Digits of a number.
const (
	minPhone = 8
	maxPhone = 15
)

// findPhone takes numbers that are written as such: with + or 00 and the country,
// with the 0 of a trunk line, or as 3-3-4 as in North America.
func findPhone(p place) match {
	if !p.fresh() {
		return nothing
	}
	lead := 0
	switch p.text[p.i] {
	case '+':
		return p.phone(1, (*number).international)
	case '(':
		lead = 1
		if p.i+1 < len(p.text) && p.text[p.i+1] == '+' {
			return p.phone(2, (*number).international)
		}
	}
	return p.phone(lead, (*number).national)
}

// phone reads the digits behind lead characters; length says how many of the
// groups are a number.
func (p place) phone(lead int, length func(*number) int) match {
	if p.i+lead >= len(p.text) {
		return p.end()
	}
	behind := p
	behind.i += lead
	num := behind.numberAt(maxPhone+2, "()")
	if num.open && !p.final {
		return waiting
	}
	k := length(&num)
	if k == 0 {
		return nothing
	}
	return match{num.groups[k-1].end - p.i, noTail}
}

// international is how many groups belong to a number with a country.
func (num *number) international() (groups int) {
	if num.n == 0 || num.digits[0] == 0 {
		return 0
	}
	return num.longest(minPhone, maxPhone)
}

func (num *number) longest(least, most int) (groups int) {
	for k, g := range num.groups[:num.n] {
		if g.total >= least && g.total <= most {
			groups = k + 1
		}
	}
	return groups
}

// national is how many groups belong to a number without one. Dates and amounts
// begin with shorter groups.
func (num *number) national() (groups int) {
	if num.n == 0 {
		return 0
	}
	d, first := num.digits, num.groups[0].size
	switch {
	case d[0] == 0 && d[1] == 0:
		if d[2] == 0 {
			return 0
		}
		return num.longest(minPhone+3, maxPhone+2)
	case d[0] == 0 && first >= 3:
		return num.longest(9, 12)
	case d[0] == 0:
		return num.pairs()
	}
	return num.american()
}

// pairs is 01 23 45 67 89.
func (num *number) pairs() int {
	if num.n < 5 || num.digits[1] == 0 {
		return 0
	}
	for _, g := range num.groups[:5] {
		if g.size != 2 {
			return 0
		}
	}
	return 5
}

// american is 415-555-2671, also with a 1 before it.
func (num *number) american() int {
	k := 0
	if num.digits[0] == 1 && num.groups[0].size == 1 {
		k = 1
	}
	if num.n < k+3 || num.digits[k] < 2 || num.digits[k+3] < 2 {
		return 0
	}
	for j, want := range [3]int{3, 3, 4} {
		if num.groups[k+j].size != want {
			return 0
		}
	}
	return k + 3
}
