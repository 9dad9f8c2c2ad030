// Package pii finds personal data and secrets in text and takes them out: in a
// whole text, or in one that comes in pieces.
//
// It is not a policy: which classes are looked for, and in what, is said by the
// duties of package policy. It knows no names, addresses or dates of birth: there
// is no form by which they could be told from other words.
//
// Types in the order of use: [Class], [Set], [Parse], [Set.Redact], [Stream].
//
//	set, err := pii.Parse("card")
//	clean := set.Redact("pay with 4111 1111 1111 1111", nil) // pay with [redacted]
//
//	s := set.Stream(nil)
//	show(s.Add("pay with 41")) // pay with␠
//	show(s.Add("11 1111 1111 1111 now")) // [redacted] now
//	show(s.End())
//
// # How it looks
//
// A matcher stands at one place of the text and says: something begins here and is
// so long, nothing begins here, or it depends on what comes. What is found at any
// place is taken out, also where findings overlap, so what stands around a finding
// cannot hide it. The stream lets go of a character when every matcher that looks
// at it has made up its mind; it cannot do so differently when more text is there.
// So the pieces of a stream, put together, are what Redact makes of the whole,
// however it was cut.
//
// Every matcher makes up its mind within [MaxHold] bytes. What is longer than that
// (a token, a private key) is recognised by its beginning, and its rest is
// swallowed as it comes.
//
// # Why no library
//
// The libraries that find personal data, secrets or phone numbers take a complete
// text: none says of a piece "not decided yet", without which a stream cannot be
// cut anywhere. Phone libraries also refuse numbers that are not assigned, and
// that is the wrong side to err on.
//
// # Contract
//
// A Set is a value. A Stream belongs to one text and one goroutine. Text that is
// not found stays as it is, byte for byte, also where it is not UTF-8; a piece
// never ends inside a character. The mark holds nothing that is found again.
package pii
