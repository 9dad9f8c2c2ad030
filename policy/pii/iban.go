package pii

// ibanLengths is how long an account number is in each country of the registry.
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
	"CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22,
	"GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30,
	"KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
	"MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
	"RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
	"UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// findIBAN takes an account number, in one piece or in groups.
func findIBAN(p place) match {
	if !p.fresh() {
		return nothing
	}
	var chars [34]byte
	want, n, i := 4, 0, p.i
	for n < want {
		if i >= len(p.text) {
			return p.end()
		}
		c := upper(p.text[i])
		if c == 0 || (n < 2) != (c >= 'A') && n < 4 {
			return nothing
		}
		chars[n], n, i = c, n+1, i+1
		if n == 4 {
			if want = ibanLengths[string(chars[:2])]; want == 0 {
				return nothing
			}
		}
		if n < 4 || n == want {
			continue
		}
		gap, open := p.gap(i, "")
		if open {
			return p.end()
		}
		i += gap
	}
	if mod97(chars[:want]) != 1 {
		return nothing
	}
	return match{i - p.i, noTail}
}

// upper is a letter in upper case or a digit, 0 for anything else.
func upper(c byte) byte {
	switch {
	case c >= '0' && c <= '9', c >= 'A' && c <= 'Z':
		return c
	case c >= 'a' && c <= 'z':
		return c - 'a' + 'A'
	}
	return 0
}

// mod97 is ISO 7064 over the number with its first four characters at the end.
func mod97(chars []byte) int {
	sum := 0
	for i := range chars {
		c := chars[(i+4)%len(chars)]
		if c >= 'A' {
			sum = (sum*100 + int(c-'A') + 10) % 97
			continue
		}
		sum = (sum*10 + int(c-'0')) % 97
	}
	return sum
}
