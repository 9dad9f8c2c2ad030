package identity

import (
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// invalid is the one answer for every credential that does not verify: a
// caller must not learn whether the issuer, the key or a claim was wrong.
func invalid(cause error) error {
	return fault.New(codes.Unauthenticated, fault.CredentialInvalid, "the credential was not accepted; present a valid one").Because(cause)
}

func expired(cause error) error {
	return fault.New(codes.Unauthenticated, fault.CredentialExpired, "the credential has expired; present a fresh one").Because(cause)
}

func required(message string) error {
	return fault.New(codes.Unauthenticated, fault.CredentialRequired, message)
}

func keysUnavailable(retry time.Duration, cause error) error {
	return fault.New(codes.Unavailable, fault.KeysetUnavailable, "the issuer's keys cannot be had now; try again later").RetryIn(retry).Because(cause)
}

func malformedMetadata(message string) error {
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, message)
}

func denied(reason fault.Reason, message string) error {
	return fault.New(codes.PermissionDenied, reason, message)
}
