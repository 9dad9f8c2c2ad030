package fault

// Reason is the name of a behalf.v1.ErrorReason, stable for ever (AIP-193).
// It is an error itself so that errors.Is(err, fault.NotFound) works.
type Reason string

// Error gives the reason's name.
func (r Reason) Error() string { return string(r) }

// The closed list of reasons. SECURITY.md 6 says which code goes with which.
const (
	CredentialRequired     Reason = "CREDENTIAL_REQUIRED"
	CredentialInvalid      Reason = "CREDENTIAL_INVALID"
	CredentialExpired      Reason = "CREDENTIAL_EXPIRED"
	CarrierNotAllowed      Reason = "CARRIER_NOT_ALLOWED"
	KeysetUnavailable      Reason = "KEYSET_UNAVAILABLE"
	PolicyDenied           Reason = "POLICY_DENIED"
	PolicyError            Reason = "POLICY_ERROR"
	ScopeMissing           Reason = "SCOPE_MISSING"
	DelegationScope        Reason = "DELEGATION_SCOPE"
	TenantMismatch         Reason = "TENANT_MISMATCH"
	PrincipalLocked        Reason = "PRINCIPAL_LOCKED"
	OwnerMismatch          Reason = "OWNER_MISMATCH"
	StepUpRequired         Reason = "STEP_UP_REQUIRED"
	ApprovalRequired       Reason = "APPROVAL_REQUIRED"
	ApprovalConsumed       Reason = "APPROVAL_CONSUMED"
	ApprovalDigestMismatch Reason = "APPROVAL_DIGEST_MISMATCH"
	ApprovalDenied         Reason = "APPROVAL_DENIED"
	ApprovalExpired        Reason = "APPROVAL_EXPIRED"
	InputRequired          Reason = "INPUT_REQUIRED"
	RateLimited            Reason = "RATE_LIMITED"
	BudgetExhausted        Reason = "BUDGET_EXHAUSTED"
	StreamLimit            Reason = "STREAM_LIMIT"
	AuditUnavailable       Reason = "AUDIT_UNAVAILABLE"
	ArgumentInvalid        Reason = "ARGUMENT_INVALID"
	ToolUnknown            Reason = "TOOL_UNKNOWN"
	ToolUnavailable        Reason = "TOOL_UNAVAILABLE"
	OutcomeUnknown         Reason = "OUTCOME_UNKNOWN"
	ModelUnavailable       Reason = "MODEL_UNAVAILABLE"
	SessionBusy            Reason = "SESSION_BUSY"
	RunNotActive           Reason = "RUN_NOT_ACTIVE"
	NotFound               Reason = "NOT_FOUND"
	Unimplemented          Reason = "UNIMPLEMENTED"
	Canceled               Reason = "CANCELED"
	DeadlineExceeded       Reason = "DEADLINE_EXCEEDED"
	Internal               Reason = "INTERNAL"
)
