// Package storetest is the suite that every engine of package store passes.
//
//	storetest.Run(t, func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "behalf.db") })
//
// It is for tests only. Its helpers (Start, Sample) may be used by tests of other
// packages that want a real store.
package storetest
