// Package fault is the one error type that crosses packages and processes.
//
// An error has two readers. The caller reads Code, Reason and Message; the
// operator reads Err in the log. The type keeps them apart: GRPCStatus carries
// only what is meant for the caller, so a handler can return any fault without
// thinking about what it might leak.
//
// It is not a wrapper for every error. Inside a package use fmt.Errorf with %w
// and make a fault where the meaning is known. What reaches the status
// interceptor and is neither a fault, a cancellation nor a deadline becomes
// codes.Internal with no text.
//
// Reasons are the names of behalf.v1.ErrorReason; a test in package server
// holds the two lists together. See AIP-193 for the form of ErrorInfo.
//
// Faults are immutable after construction: the With methods return copies, so
// one may be shared by goroutines.
package fault
