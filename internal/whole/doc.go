// Package whole replaces files at once: who reads sees the old one or the new one,
// never a part. It is for the small private files that the program writes itself
// (keys, what was accepted), and says whether such a file is the program's own. It reads
// nothing and checks no modes.
//
// Who changes a file by what is in it, or has several that belong together, holds a lock
// meanwhile: a file of its own beside them, which the others ask for too.
//
// # Contract
//
// The file is of mode 0600, on the disk when Replace returns, and as it was before if
// Replace fails.
package whole
