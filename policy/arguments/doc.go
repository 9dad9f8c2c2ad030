// Package arguments reads JSON that somebody hostile wrote, in one strict way.
//
// A [Type] comes from a tool's JSON Schema ([TypeOf]); [Read] turns a document into
// a Cedar record by that type alone: exact names, no duplicates, integers of 64
// bits, decimals of four places, nothing that the schema does not have. Cedar's own
// decoder would take {"__entity":…} for a reference, so it never sees these bytes.
// [Decode] reads a document of which nothing is known, with the same bounds.
//
// It knows no policies; it is not the check of a call against its whole schema,
// which is the gate's. Types are immutable; a [Readers] may be used by many
// goroutines.
package arguments
