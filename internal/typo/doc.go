// Package typo finds the word that was meant by one that does not exist, for the
// messages of those who read names: the config, the policies, the program.
//
// It is not a search: it gives one word or none. Its functions are pure.
//
//	typo.Meant("get_custmer", tools) // get_customer
package typo
