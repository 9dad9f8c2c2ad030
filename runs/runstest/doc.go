// Package runstest holds what tests of runs share: the suite that every
// [runs.Log] passes, and memory implementations of [runs.Index] and
// [runs.Grants].
//
// It is not for production: its index is a map behind one lock.
//
//	func TestMyLog(t *testing.T) {
//		runstest.TestLog(t, func(t *testing.T) runs.Log { return open(t) })
//	}
//
// The suite opens a log of its own for each test. An Index may be used by many
// goroutines.
package runstest
