// Package config is behalf.yaml as plain data: what the operator wrote, read
// strictly, with the place of every value.
//
// It is not the wiring: it imports no other package of this module, and the root
// package maps each section to that package's own Config. It opens files only to
// resolve `${file:…}` and to see that files exist that the server will need.
//
// Load and Parse give a Config or *Problems: all problems at once, each with
// file, line, column and what to do, and the rest of the file, so that what it
// names can be looked at in the same go. The way of a file is parse, shape, decode,
// check:
//
//   - the YAML becomes a tree of nodes; anchors, aliases, merge keys and tags
//     are refused, so that what is read is what is written there;
//   - the tree is compared with the Go types (shape.go), which reports unknown
//     and duplicate keys, wrong types, and what the struct tags say: `is` names a
//     form (forms.go), `enum` the words and `range` the bounds of a value, `keys`
//     the form of a map's keys;
//   - `${env:NAME}` and `${file:path}` are replaced in scalars, never in the text
//     of the file, so that no secret can become structure (expand.go);
//   - what is left is decoded strictly, and checked across sections by name.
//
// A problem quotes only what the file says, never what a reference stands for. A
// Secret prints as a mask.
//
//	c, err := config.Load("behalf.yaml", os.LookupEnv)
//	if err != nil {
//		return err // prints one problem per line
//	}
//	for _, p := range append(c.CheckServe(), c.CheckTools(known, left)...) {
//		fmt.Fprintln(w, p)
//	}
//
// A *Config is not changed after Parse and may be read by many goroutines. Each
// call of Load gives a new one, which is how a reload works: keep the old one
// when there is an error.
package config
