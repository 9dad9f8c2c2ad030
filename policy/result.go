package policy

// Result is how an effect ended, for the outcome row.
type Result struct {
	Outcome string // succeeded, failed, cancelled, unknown
	Reason  string // ErrorReason name when it failed with one
	Digest  string // of the result's bytes, keyed like arguments
}

// Outcomes of an effect.
const (
	Succeeded = "succeeded"
	Failed    = "failed"
	Cancelled = "cancelled"
	Unknown   = "unknown"
)
