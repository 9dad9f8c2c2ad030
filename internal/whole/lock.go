package whole

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// ErrHeld says that somebody else has the lock.
var ErrHeld = errors.New("it is in use by another process, or another part of this one")

// again is how often a lock that is held is asked for.
const again = 10 * time.Millisecond

// TryLock holds a file that is made for that, of the mode if it is not there. The
// kernel releases it when the process dies, however it dies. The file stays: if it were
// removed, who waits for it and who makes a new one would both have a lock.
func TryLock(path string, mode fs.FileMode) (unlock func(), err error) {
	unlock, err = tryLock(path, mode)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return unlock, nil
}

// Lock is TryLock for somebody who waits for so long.
func Lock(path string, mode fs.FileMode, most time.Duration) (unlock func(), err error) {
	for end := time.Now().Add(most); ; {
		unlock, err = TryLock(path, mode)
		if !errors.Is(err, ErrHeld) || !time.Now().Before(end) {
			return unlock, err
		}
		<-time.After(again)
	}
}
