package agents

// folded is what one reader made of a thread so far.
type folded struct {
	seen  int // events of the thread that are in state
	state any
}

type foldKey struct {
	thread string
	reader any
}

// Fold gives reader's state of t's thread. The state is kept with the transcript
// and only what is new is applied, so that asking after each event, turn and run
// costs no more than reading each event once.
//
// The state is the reader's alone: two goroutines may fold the same transcript
// only as different readers.
func Fold[S any](t *Transcript, reader any, start func() S, apply func(S, *Event)) S {
	f := t.folded(reader)
	if f.state == nil {
		f.state = start()
	}
	state := f.state.(S)
	fresh := t.Since(f.seen)
	for i := range fresh {
		apply(state, &fresh[i])
	}
	f.seen += len(fresh)
	return state
}

// folded finds or makes the reader's entry for t's thread.
func (t *Transcript) folded(reader any) *folded {
	key := foldKey{t.thread, reader}
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	f := t.log.folds[key]
	if f == nil {
		f = &folded{}
		t.log.folds[key] = f
	}
	return f
}
