package behalf

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// refusalsEvery is how often refused callers are summarised (DESIGN 8). One row
// per refusal would let anybody fill the log without a credential.
const refusalsEvery = time.Minute

// recordRefusals writes, once a minute and at the end, how many callers could
// not be identified, by issuer, into the chain of no tenant.
func (s *Server) recordRefusals(ctx context.Context, who *identity.Identifier) error {
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.summarise(context.WithoutCancel(ctx), who.Refused())
		case <-tick.C:
			if err := s.summarise(ctx, who.Refused()); err != nil {
				s.opt.log.ErrorContext(ctx, "refused callers could not be recorded", slog.String("cause", err.Error()))
			}
		}
	}
}

func (s *Server) summarise(ctx context.Context, refused map[string]int64) error {
	var last *audit.Receipt
	for _, issuer := range slices.Sorted(maps.Keys(refused)) {
		last = s.store.Append(audit.Entry{Record: &audit.Record{
			Time: s.opt.now().UnixNano(), Tenant: "system", Phase: audit.Decision, Action: "authenticate",
			Resource: fmt.Sprintf("Issuer::%q", issuer), Decision: audit.Deny, Reason: string(fault.CredentialInvalid),
			RedactedArguments: fmt.Sprintf(`{"refused":%d}`, refused[issuer]), Governed: true,
		}})
	}
	if last == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return last.Wait(ctx)
}
