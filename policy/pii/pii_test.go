package pii

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func set(t testing.TB, name string) Set {
	t.Helper()
	s, err := Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// specimens are values of each class. The numbers are the ones that the issuers
// publish as examples.
var specimens = map[string][]string{
	"card": {
		"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111\u00a01111\u00a01111\u00a01111", "4111\u200b1111\u200b1111\u200b1111",
		"4111 - 1111 - 1111 - 1111", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "４１１１１１１１１１１１１１１１", "378282246310005", "3782 822463 10005", "5555555555554444",
		"2223003122003222", "6011111111111117", "30569309025904", "3530111333300000", "4222222222222", "6304000000000000",
	},
	"email": {
		"alice@example.com", "Alice.O+tag@mail.example.co.uk", "j\u00f6rg@b\u00fccher.example", "иван@пример.рф", "alice%40example.com", "a_b-c@x-y.museum", "-dash@example.org",
	},
	"iban": {"DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "gb29 nwbk 6016 1331 9268 19", "FR1420041010050500013M02606", "NO93 8601 1117 947"},
	"national_id": {
		"078-05-1120", "078 05 1120", "AB123456C", "AB 12 34 56 C", "86095742719", "86 095 742 719", "12345678Z", "X1234567L", "RSSMRA85T10A562S",
		"44051401359", "811218-9876", "19811218-9876", "131052-308T", "756.9217.0769.85", "529.982.247-25", "52998224725", "11010519491231002X", "2950 4110 2546", "046-454-286",
	},
	"phone": {
		"+49 30 1234567", "+1 (415) 555-2671", "+442071838750", "0049 30 1234567", "(030) 123 45 67", "030/1234567", "07911 123456", "01 23 45 67 89", "415-555-2671",
		"(415) 555-2671", "1-800-555-0199", "(+49) 30 1234567",
	},
	"secret": {
		"AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "glpat-abcdefghij0123456789", "xoxb-123456789012-abcdefghij", "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
		"sk-proj-abcdefghijklmnopqrstuvwx", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", "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",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "eyJhbGciOiJkaXIifQ..48V1_ALb6US04U3b.5eym8TW_c8SuK0lt.XFBoMYUZodetZdvTiFvSkQ",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD9\nabc+/=\n-----END RSA PRIVATE KEY-----",
	},
}

func TestEachClassIsFoundWhereverItStands(t *testing.T) {
	for name, values := range specimens {
		for _, v := range values {
			for _, around := range [][2]string{{"", ""}, {"it is ", " now"}, {"(", ")"}, {"“", "”"}, {"x: ", ", and"}, {"\n", "\n"}, {`"`, `"`}} {
				text, want := around[0]+v+around[1], around[0]+Mark+around[1]

				if got := set(t, name).Redact(text, nil); got != want && got != strings.Replace(want, "([", "[", 1) {
					t.Errorf("%s: got %q from %q, want %q", name, got, text, want)
				}
			}
		}
	}
}

func TestWhatOnlyLooksLikeItStays(t *testing.T) {
	for _, text := range []string{
		"4111111111111112", "order 1234567890123456", "41111111111111111111111", "2024 2025 2026 2027", "in 2024 we sold 12 345 678 pieces", "a @ b", "@alice", "alice@localhost", "3.14159265358979",
		"DE89370400440532013001", "DEAD BEEF 0000", "2024-01-15 10:30:00", "01.02.2024 12:30", "000-12-3456", "666-12-3456", "10.0.0.1", "192.168.100.200", "v1.2.3-rc.1", "AB123456X", "12345678A",
		"eyJ is how a token begins", "the password: to be chosen", "sk-learn", "risk-based and task-oriented", "https://example.com:8443/a@b", "-----BEGIN CERTIFICATE-----", "basic authentication", "bearer of news",
		"0, 1, 2, 3", "$1,234,567.89", "123456789", "ISO 8601", "ring 112", "naïve café — “quotes” 日本語 \U0001f600", "broken \xff\xfe bytes \xc3", "",
	} {
		if got := All.Redact(text, nil); got != text {
			t.Errorf("got %q from %q, want it unchanged", got, text)
		}
	}
}

func TestNamedValuesAreSecrets(t *testing.T) {
	for text, want := range map[string]string{
		`password=hunter2hunter`:                    `password=[redacted]`,
		`"api_key": "abcd1234efgh"`:                 `"api_key": "[redacted]"`,
		`DB_PASSWORD: s3cr3tpass!`:                  `DB_PASSWORD: [redacted]!`,
		`Authorization: Bearer abcdef0123456789xyz`: `Authorization: Bearer [redacted]`,
		`postgres://bob:pw@db/x`:                    `postgres://[redacted]@db/x`,
		`my access token is: t0ken-value`:           `my access token is: t0ken-value`,
	} {
		if got := set(t, "secret").Redact(text, nil); got != want {
			t.Errorf("got %q from %q, want %q", got, text, want)
		}
	}
}

func TestNeighboursDoNotHideAFinding(t *testing.T) {
	for text, want := range map[string]string{
		"12 4111 1111 1111 1111":                         "12 [redacted]",
		"4111 1111 1111 1111 12/26 123":                  "[redacted] 12/26 123",
		"5105 1051 0510 5100 4111 1111 1111 1111":        Mark, // the numbers between them may be some, too
		"PAN4111111111111111":                            "PAN[redacted]",
		"alice@example.com,bob@example.com":              "[redacted],[redacted]",
		"card 4111111111111111.":                         "card [redacted].",
		"mail alice@example.com. Then":                   "mail [redacted]. Then",
		"ghp_16C7e42F292c6912E7710c838347Ae178B4a. Then": "[redacted]. Then",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc. Then": "[redacted]. Then",
	} {
		if got := All.Redact(text, nil); got != want {
			t.Errorf("got %q from %q, want %q", got, text, want)
		}
	}
}

func TestOnlyTheClassesAskedForAreFound(t *testing.T) {
	text := "alice@example.com 4111111111111111"

	if got := set(t, "card").Redact(text, nil); got != "alice@example.com [redacted]" {
		t.Errorf("got %q", got)
	}
	if got := Set(0).Redact(text, nil); got != text {
		t.Errorf("got %q", got)
	}
}

func TestUnknownClassesAreNamedWithWhatThereIs(t *testing.T) {
	for _, name := range []string{"", "Card", "cards", "ssn"} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), "national_id") {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestTakenBytesAreCountedByClass(t *testing.T) {
	got := map[Class]int{}

	All.Redact("alice@example.com, 4111 1111 1111 1111 and bob@example.org", func(c Class, n int) { got[c] += n })

	if got[Email] != 32 || got[Card] != 19 || len(got) != 2 {
		t.Errorf("got %v, want 32 bytes of email and 19 of card", got)
	}
}

func TestWhatIsLongLeavesAsItComes(t *testing.T) {
	for name, text := range map[string]string{
		"token":       "ghp_" + strings.Repeat("abcdef0123", 100_000),
		"long header": "eyJ" + strings.Repeat("a", 100_000) + ".b.c",
		"word":        strings.Repeat("a", 100_000),
		"digits":      strings.Repeat("12", 50_000),
		"groups":      strings.Repeat("1 ", 50_000),
		"key":         "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIBOgIBAAJBAKj34GkxFhD9\n", 400) + "-----END PRIVATE KEY-----",
	} {
		s := All.Stream(nil)
		for i := 0; i < len(text); i += 7 {
			s.Add(text[i:min(i+7, len(text))])
			if s.Held() > MaxHold {
				t.Fatalf("%s: %d bytes are held, want at most %d", name, s.Held(), MaxHold)
			}
		}
	}
}

// pieces cuts a text at random places, also inside characters.
func pieces(r *rand.Rand, text string) (all []string) {
	for len(text) > 0 {
		n := 1 + r.IntN(min(len(text), 1+r.IntN(12)))
		all = append(all, text[:n])
		text = text[n:]
	}
	return all
}

// streamed puts the pieces together again, and looks at each step.
func streamed(t testing.TB, set Set, parts []string) string {
	t.Helper()
	var out strings.Builder
	whole := utf8.ValidString(strings.Join(parts, ""))
	s := set.Stream(nil)
	for _, p := range parts {
		piece := s.Add(p)
		if whole && !utf8.ValidString(piece) {
			t.Errorf("the piece %q ends inside a character", piece)
		}
		if s.Held() > MaxHold {
			t.Errorf("%d bytes are held, want at most %d", s.Held(), MaxHold)
		}
		out.WriteString(piece)
	}
	out.WriteString(s.End())
	return out.String()
}

// randomText plants specimens between words and odd characters.
func randomText(r *rand.Rand) (text string, planted []string) {
	filler := []string{" ", "  ", "\n", "a", "the ", "1", "42 ", "-", ".", "@", "+", "(", "é", "日", "\u00a0", "\u200b", "eyJ", "gh", "sk-", "://", "=", "://a:", "password: ", "😀", "\xff", "４", "AB", "x@y"}
	var b strings.Builder
	names := []string{"card", "email", "iban", "national_id", "phone", "secret"}
	for range 1 + r.IntN(12) {
		if r.IntN(3) == 0 {
			values := specimens[names[r.IntN(len(names))]]
			v := values[r.IntN(len(values))]
			planted = append(planted, v)
			b.WriteString(" “" + v + "” ")
			continue
		}
		b.WriteString(filler[r.IntN(len(filler))])
	}
	return b.String(), planted
}

func TestAStreamIsTheWholeHoweverItIsCut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		text, planted := randomText(r)
		want := All.Redact(text, nil)

		got := streamed(t, All, pieces(r, text))

		if got != want {
			t.Fatalf("got %q from %q, want %q", got, text, want)
		}
		for _, v := range planted {
			if strings.Contains(got, v) {
				t.Fatalf("%q is in %q", v, got)
			}
		}
	}
}

func TestNoPrefixOfAStreamShowsTheBeginningOfAFinding(t *testing.T) {
	for name, values := range specimens {
		for _, v := range values {
			if strings.HasPrefix(v, "(") || strings.HasPrefix(v, "-") {
				continue // the first character may be anybody's
			}
			s, shown := set(t, name).Stream(nil), ""
			for _, b := range []byte("it is “" + v + "” now") {
				shown += s.Add(string([]byte{b}))
				if i := strings.Index(shown, "“"); i >= 0 && !strings.HasPrefix(shown[i+len("“"):], Mark[:min(len(Mark), len(shown)-i-len("“"))]) {
					t.Fatalf("%s %q: %q was shown", name, v, shown)
				}
			}
		}
	}
}

func FuzzAStreamIsTheWhole(f *testing.F) {
	for _, values := range specimens {
		for _, v := range values {
			f.Add("it is "+v+", and\n"+v, uint64(7))
		}
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		want := All.Redact(text, nil)
		parts := pieces(rand.New(rand.NewPCG(seed, 1)), text)
		if got := streamed(t, All, parts); got != want {
			t.Fatalf("got %q from %q, want %q", got, parts, want)
		}
	})
}

// BenchmarkStream is a filter at work: an answer of a language model in pieces of
// a few letters. One operation is one piece.
func BenchmarkStream(b *testing.B) {
	text := strings.Repeat("The customer paid 129.90 on 2024-01-15 with the card 4111 1111 1111 1111, and wrote from alice@example.com. ", 20)
	for name, set := range map[string]Set{"card": 1 << Card, "all": All} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s, i := set.Stream(nil), 0
			for b.Loop() {
				if i+5 > len(text) {
					s, i = set.Stream(nil), 0
				}
				s.Add(text[i : i+5])
				i += 5
			}
		})
	}
}

// BenchmarkHoldBack is an answer in which nothing is found, a word at a time as
// models write, and tells how much of it is kept back and for how long, with 20 ms
// from one piece to the next. A piece is late by the time until its last byte is let
// go of.
func BenchmarkHoldBack(b *testing.B) {
	text := strings.Repeat("Order 10023 of Ann Lee was paid on 2024-01-15 (129.90 EUR), and is on its way to 12 High Street; it arrives at 10 a.m. or later. ", 8)
	words := strings.SplitAfter(text, " ")
	for name, set := range map[string]Set{"card": 1 << Card, "all": All} {
		b.Run(name, func(b *testing.B) {
			var kept, late []float64
			for b.Loop() {
				kept, late = holdBack(set.Stream(nil), words)
			}
			slices.Sort(late)
			b.ReportMetric(mean(kept), "held-B")
			b.ReportMetric(slices.Max(kept), "held-max-B")
			b.ReportMetric(mean(late), "late-ms")
			b.ReportMetric(late[len(late)*99/100], "late-p99-ms")
		})
	}
}

// holdBack gives what was held after each piece, and how late each was.
func holdBack(s *Stream, pieces []string) (kept, late []float64) {
	const apart = 20 // ms
	var ends []int   // of the pieces that are not gone yet
	for i, in := 0, 0; i < len(pieces); i++ {
		s.Add(pieces[i])
		in += len(pieces[i])
		ends = append(ends, in)
		kept = append(kept, float64(s.Held()))
		for len(ends) > 0 && ends[0] <= in-s.Held() {
			late, ends = append(late, float64((len(ends)-1)*apart)), ends[1:]
		}
	}
	return kept, late
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func BenchmarkRedact(b *testing.B) {
	text := strings.Repeat("The customer paid on Monday and wrote that all is well. ", 20)
	for name, set := range map[string]Set{"card": 1 << Card, "all": All} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				set.Redact(text, nil)
			}
		})
	}
}
