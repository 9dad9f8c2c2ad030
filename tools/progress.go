package tools

import "context"

// Progress is how far a call has come, as its backend says.
type Progress struct {
	Done, Total float64 // Total 0: it is not known
	Message     string  // the backend's text: cleaned, bounded, and still not to be trusted
}

type progressKey struct{}

// WithProgress lets the calls made with the context tell how far they are. It is
// called from another goroutine than the call's, and must not block.
func WithProgress(ctx context.Context, tell func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

// ProgressFrom gives what a tool tells its progress to; false: nobody asks.
func ProgressFrom(ctx context.Context) (tell func(Progress), ok bool) {
	tell, ok = ctx.Value(progressKey{}).(func(Progress))
	return tell, ok && tell != nil
}
