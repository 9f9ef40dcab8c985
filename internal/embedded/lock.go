package embedded

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lock takes the lock file at path, which a dead process does not hold, and
// returns what releases it. It calls wait once if another process holds it.
func lock(ctx context.Context, path string, wait func()) (release func(), err error) {
	if err := private(filepath.Dir(path)); err != nil {
		return nil, err
	}
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err == nil && !ok {
		if wait != nil {
			wait()
		}
		ok, err = l.TryLockContext(ctx, 100*time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("waiting for lock %q: %w", path, err)
	}
	if !ok {
		return nil, fmt.Errorf("waiting for lock %q: another process holds it", path)
	}
	// The file stays: removing it would let two processes hold one name.
	return func() { _ = l.Close() }, nil
}
