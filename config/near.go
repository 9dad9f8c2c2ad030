package config

// Nearest is the one of words that was probably meant by word; empty if none is
// near enough.
func Nearest(word string, words []string) string { return nearest(word, words) }
