//go:build !unix

package audit

// Here nothing can be known without trying: who opens or makes it finds out.

func mayMakeIn(string) error { return nil }
func mayChange(string) error { return nil }
