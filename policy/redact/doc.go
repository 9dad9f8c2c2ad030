// Package redact takes out of arguments and results what must not be seen, as
// @redact("result:$.ssn, pii:card") says: by JSONPath, and by the detectors of
// package pii.
//
// [Parse] reads an annotation, [Redaction.Arm] readies its items, and then
// [Redaction.Args] and [Redaction.Result] apply them. What cannot be applied takes
// the whole document out. It decides nothing: whose duty it is says the engine.
//
// # Why JSONPath by a library
//
// Redaction paths are parsed and applied by ojg/jp: one grammar that policy
// authors know. Filters and scripts are refused at load, because a hostile
// result would steer them, and after each redaction the path is evaluated again:
// if anything but the mark is found, the whole value is replaced. What has no place
// that is known beforehand is found by the detectors of package pii.
//
// A Redaction is immutable once it is armed, and many goroutines may use it then.
package redact
