// Package autogen reads and writes AutoGen 0.7.5 component JSON: a team that was
// built there becomes a fragment of behalf.yaml, and back.
//
// It runs nothing. The Python code in a file is not even read: a function tool
// is its name, which somebody here must bring. It copies no credential: what a
// file has in place of a key becomes a reference to a variable of our own naming.
//
// Import walks the components of a file by the last word of their provider, so
// that it does not matter where a class lived in which version. What it cannot
// keep it says in Notes:
//
//	r, err := autogen.Import("team.json", data, autogen.Options{Tools: known})
//	if err != nil {
//		return err // *config.Problems: the file, or what became of it, cannot be used
//	}
//	os.Stdout.Write(r.YAML) // loads with package config
//	for _, n := range r.Notes {
//		fmt.Fprintln(os.Stderr, n)
//	}
//
// Export does the reverse. What AutoGen has no word for (scopes, limits, whom to
// ask) is in Notes; an edge whose condition it could not keep is an error,
// because an edge without a condition is open. Export, import and export again
// give the same file; the one exception is an agent with hand-offs that is in
// two teams of one file: it is imported once for each.
//
// A file is hostile: its size and depth are bounded, its JSON is read strictly,
// `${` in its texts is escaped, so that it cannot make the configuration read
// variables or files, and its names are cleaned. The functions here hold no
// state and may be called by many goroutines.
package autogen
