// Package strictjson reads JSON that somebody hostile wrote, and of which nothing is
// known: as I-JSON (RFC 7493) wants it, so that no two readers see two things in it.
// Duplicate names, also by an escape, bytes and surrogates that are no Unicode, and
// anything behind the value are refused; numbers stay as they are written.
//
// It is not the check of a document against a schema. Its functions are pure; their
// errors have no text of the document.
//
//	v, err := strictjson.Decode([]byte(`{"a":1,"a":2}`), 16) // ErrSyntax
package strictjson
