package pii

import "strings"

// form is how a number is written: 9 stands for a digit, A for a letter, X for
// either, - for a separator and _ for one that may be left out.
type form struct {
	text  string
	valid func(chars) bool
}

// chars are a number in upper case, without separators.
type chars [20]byte

// forms are the numbers of persons that can be told from other numbers by how they
// are written or by their check digits. Bare nine digits (NL, PT, US without
// hyphens) would take out every ninth order number.
var forms = []form{
	{"999-99-9999", validSSN},           // US
	{"999-999-999", validSIN},           // CA
	{"AA_99_99_99_A", validNINO},        // GB
	{"99_999_999_999", validTaxID},      // DE
	{"9_99_99_9X_999_999_99", validNIR}, // FR
	{"99999999_A", validDNI},            // ES
	{"A_9999999_A", validNIE},           // ES, foreigners
	{"AAAAAA99A99A999A", validCF},       // IT
	{"99999999999", validPESEL},         // PL
	{"999999-9999", validSE},            // SE
	{"99999999-9999", validSE},          // SE, with the century
	{"999999X999X", validFI},            // FI, of the twenty-first century
	{"999999-999X", validFI},            // FI
	{"99.99.99-999.99", validBE},        // BE
	{"999_9999_9999_99", validAHV},      // CH
	{"999.999.999-99", validCPF},        // BR
	{"99999999999", validCPF},           // BR, in one piece
	{"9999-9999-9999", validAadhaar},    // IN
	{"99999999999999999X", validCN},     // CN
}

// findNationalID takes the numbers that states give to persons.
func findNationalID(p place) match {
	if !p.fresh() {
		return nothing
	}
	open, begin := false, byte('A')
	if p.text[p.i] <= '9' {
		begin = '9'
	}
	for i := range forms {
		if forms[i].text[0] != begin {
			continue
		}
		hit := p.as(&forms[i])
		if hit.length > 0 {
			return hit
		}
		open = open || hit.length < 0
	}
	if open {
		return waiting
	}
	return nothing
}

// as reads the text in a form.
func (p place) as(f *form) match {
	var c chars
	n, i := 0, p.i
	for k := range len(f.text) {
		if i >= len(p.text) {
			return p.end()
		}
		want := f.text[k]
		if want == '-' || want == '.' || want == '_' {
			gap := p.separatorAt(i)
			if gap < 0 {
				return p.end()
			}
			if gap == 0 && want != '_' {
				return nothing
			}
			i += gap
			continue
		}
		x := upper(p.text[i])
		if x == 0 || want == '9' && x > '9' || want == 'A' && x < 'A' {
			return nothing
		}
		c[n], n, i = x, n+1, i+1
	}
	if i >= len(p.text) && !p.final || i < len(p.text) && !p.final && p.cut(i) {
		return waiting
	}
	if i < len(p.text) && upper(p.text[i]) != 0 || !f.valid(c) {
		return nothing
	}
	return match{i - p.i, noTail}
}

func value(chars []byte) (v int) {
	for _, c := range chars {
		v = v*10 + int(c-'0')
	}
	return v
}

// weighted is the sum of the digits times the weights.
func weighted(c chars, weights ...int) (sum int) {
	for i, w := range weights {
		sum += int(c[i]-'0') * w
	}
	return sum
}

// validSSN also takes the numbers that tax payers without one have.
func validSSN(c chars) bool {
	area := value(c[:3])
	return area != 0 && area != 666 && value(c[3:5]) != 0 && value(c[5:9]) != 0
}

func validSIN(c chars) bool { return c[0] != '8' && luhn(c[:9]) }

func validNINO(c chars) bool {
	two := string(c[:2])
	return !strings.ContainsAny(two, "DFIQUV") && c[1] != 'O' && c[8] <= 'D' && !strings.Contains("BG GB KN NK NT TN ZZ", two)
}

// validTaxID is ISO 7064 mod 11,10; one of the first ten digits, and not more,
// stands there two or three times.
func validTaxID(c chars) bool {
	var count [10]int
	product := 10
	for _, x := range c[:10] {
		count[x-'0']++
		sum := (int(x-'0') + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	repeated := 0
	for _, n := range count {
		if n > 3 {
			return false
		}
		if n > 1 {
			repeated++
		}
	}
	return c[0] != '0' && repeated == 1 && (11-product)%10 == int(c[10]-'0')
}

func validNIR(c chars) bool {
	if !strings.ContainsRune("123478", rune(c[0])) {
		return false
	}
	body, less := c, 0
	switch string(c[5:7]) {
	case "2A":
		body[6], less = '0', 1_000_000
	case "2B":
		body[6], less = '0', 2_000_000
	default:
		if c[6] > '9' {
			return false
		}
	}
	return 97-(value(body[:13])-less)%97 == value(c[13:15])
}

const dniLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

func validDNI(c chars) bool { return dniLetters[value(c[:8])%23] == c[8] }

func validNIE(c chars) bool {
	first := strings.IndexByte("XYZ", c[0])
	return first >= 0 && dniLetters[(first*10_000_000+value(c[1:8]))%23] == c[8]
}

// validCF is the check letter of the codice fiscale.
func validCF(c chars) bool {
	odd := [...]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i, x := range c[:15] {
		v := int(x - '0')
		if x >= 'A' {
			v = int(x - 'A')
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	return strings.ContainsRune("ABCDEHLMPRST", rune(c[8])) && byte('A'+sum%26) == c[15]
}

func validPESEL(c chars) bool {
	month, day := value(c[2:4])%20, value(c[4:6])
	return month >= 1 && month <= 12 && day >= 1 && day <= 31 && weighted(c, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0
}

// validSE takes the day of people who are registered without a number, too.
func validSE(c chars) bool {
	d := c[:10]
	if c[10] != 0 {
		d = c[2:12]
	}
	month, day := value(d[2:4]), value(d[4:6])%60
	return month >= 1 && month <= 12 && day >= 1 && day <= 31 && luhn(d)
}

func validFI(c chars) bool {
	serial, check := c[6:9], c[9]
	if c[10] != 0 {
		if !strings.ContainsRune("ABCDEFYXWVU", rune(c[6])) {
			return false
		}
		serial, check = c[7:10], c[10]
	}
	day, month := value(c[:2]), value(c[2:4])
	n := value(c[:6])*1000 + value(serial)
	return day >= 1 && day <= 31 && month >= 1 && month <= 12 && "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == check
}

func validBE(c chars) bool {
	n, check := value(c[:9]), value(c[9:11])
	return 97-n%97 == check || 97-(2_000_000_000+n)%97 == check
}

func validAHV(c chars) bool {
	return string(c[:3]) == "756" && weighted(c, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1)%10 == 0
}

func validCPF(c chars) bool {
	same := true
	for _, x := range c[:11] {
		same = same && x == c[0]
	}
	first := weighted(c, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	second := weighted(c, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	return !same && first == int(c[9]-'0') && second == int(c[10]-'0')
}

// validAadhaar is Verhoeff's check digit.
func validAadhaar(c chars) bool {
	permuted := [8]string{"0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"}
	check := byte(0)
	for i := range 12 {
		check = dihedral(check, permuted[i%8][c[11-i]-'0']-'0')
	}
	return c[0] >= '2' && check == 0
}

// dihedral multiplies in the group of the symmetries of a pentagon.
func dihedral(a, b byte) byte {
	switch {
	case a < 5 && b < 5:
		return (a + b) % 5
	case a < 5:
		return (a+b)%5 + 5
	case b < 5:
		return (a-b)%5 + 5
	}
	return (a - b + 5) % 5
}

func validCN(c chars) bool {
	for _, x := range c[:17] {
		if x > '9' {
			return false
		}
	}
	month, day := value(c[10:12]), value(c[12:14])
	sum := weighted(c, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return month >= 1 && month <= 12 && day >= 1 && day <= 31 && "10X98765432"[sum%11] == c[17]
}
