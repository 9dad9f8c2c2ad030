package typo

import "slices"

// longest and most bound what is done about one wrong word.
const (
	longest = 64
	most    = 1000
)

// Meant is the one of words at the smallest distance, if that is small for the
// length of word; empty if none is. Of equals it is the first in order.
func Meant(word string, words []string) string {
	best, found := 1+max(1, min(len(word), 24)/3), ""
	if len(word) > longest || len(words) > most {
		return ""
	}
	for _, w := range slices.Sorted(slices.Values(words)) {
		if d := distance(word, w); d < best && d < len(w) {
			best, found = d, w
		}
	}
	return found
}

// DidYouMean is the end of a sentence about an unknown word; empty if none of words
// can have been meant.
func DidYouMean(word string, words []string) string {
	if meant := Meant(word, words); meant != "" {
		return "; did you mean " + meant + "?"
	}
	return ""
}

// distance is the number of bytes to insert, delete, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			step := 1
			if a[i-1] == b[j-1] {
				step = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+step)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
