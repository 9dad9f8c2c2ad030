package tools

import "testing"

// Hostile is the corpus of json_test.go for tests of the gate.
var Hostile = hostile

// ParseForBench is the strict decoder with validation, without the gate.
func ParseForBench(tb testing.TB, raw string) func(string) bool {
	_, s, _ := mustCompile(tb, raw)
	return func(text string) bool {
		_, bad := s.parse(text)
		return len(bad) == 0
	}
}
