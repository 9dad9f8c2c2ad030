package pii

import (
	"fmt"
	"slices"
	"strings"
)

// Mark stands where something was taken out.
const Mark = "[redacted]"

// Class is a kind of data that can be found.
type Class uint8

// The classes, in the order in which they are listed.
const (
	Card       Class = iota // payment cards: known issuers, valid by Luhn
	Email                   // e-mail addresses
	IBAN                    // bank accounts: the country's length, valid by mod 97
	NationalID              // numbers of persons, valid by their check digits where they have some
	Phone                   // international numbers, and national ones that are written as such
	Secret                  // API keys, tokens, passwords that are named as such, private keys
	classes
)

var names = [classes]string{"card", "email", "iban", "national_id", "phone", "secret"}

// String is the class's name in a policy.
func (c Class) String() string {
	if c < classes {
		return names[c]
	}
	return "unknown"
}

// Set is some classes. The zero value is none.
type Set uint8

// All is every class.
const All = Set(1<<classes - 1)

// Parse reads the name of a class, or "all".
func Parse(name string) (Set, error) {
	if name == "all" {
		return All, nil
	}
	if i := slices.Index(names[:], name); i >= 0 {
		return 1 << i, nil
	}
	return 0, fmt.Errorf("%q is not a class of data; known are %s and all", name, strings.Join(names[:], ", "))
}

func (s Set) has(c Class) bool { return s&(1<<c) != 0 }
