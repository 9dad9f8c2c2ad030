package tools

import (
	"context"
	"errors"
	"slices"

	"github.com/behalf-dev/behalf/fault"
)

const withheld = "the tool failed; what it said is withheld, because parts of its results are hidden from you"

var errWithheld = errors.New("the tool failed, and its text was withheld: a redaction of its results is due")

// quotable is an error of a tool as the operator may read it: a backend that says what
// is wrong quotes what it has, and what is taken out of its results must not be in a
// log either. What we say of it ourselves stays.
func (a *attempt) quotable(err error) error {
	if !a.permit.RedactsResults() {
		return err
	}
	f, known := errors.AsType[*fault.Error](err)
	switch {
	case !known:
		return a.less(err)
	case f.Err == nil:
		return f
	}
	return f.Because(a.less(f.Err))
}

// less is what a tool said, without what is taken out of its results: by its place that
// can be anything.
func (a *attempt) less(err error) error {
	if ours(err) {
		return err
	}
	if r, ok := errors.AsType[*refusedError](err); ok {
		return &refusedError{r.sent, a.less(r.said)}
	}
	if a.permit.HidesResults() {
		return errWithheld
	}
	return errors.New(a.permit.Quoted(err.Error()))
}

// ours reports an error of which no word is the tool's.
func ours(err error) bool {
	_, panicked := err.(*panicError) //nolint:errorlint // what is around it is the tool's
	return panicked || slices.Contains([]error{errStuck, context.Canceled, context.DeadlineExceeded}, err)
}
