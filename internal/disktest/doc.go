// Package disktest makes a disk full, for tests of what happens then. It is not a
// fake: the kernel refuses every write to a file of the process, which therefore
// has to be one of its own.
//
//	func TestFull(t *testing.T) {
//		if !disktest.OwnProcess(t) {
//			return // it ran in the process that OwnProcess started
//		}
//		mend := disktest.Fill(t, 0)
//		…
//		mend()
//	}
package disktest
