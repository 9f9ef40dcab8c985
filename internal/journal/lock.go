package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// Lock keeps every other release of this workspace out until unlock is called.
// The kernel drops the lock with the process, however that ends. If another
// process holds it, the error is a BusyError.
func (s *Store) Lock() (unlock func(), err error) {
	if err := s.Make(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.Path, "lock")
	// Whoever may read the file may hold the lock, so nobody else may.
	if err := os.Chmod(path, 0o600); err != nil && !os.IsNotExist(err) {
		return nil, stateError(err)
	}
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, stateError(fmt.Errorf("locking %s: %w", path, err))
	}
	if !ok {
		holder, _ := os.ReadFile(path)
		_ = l.Close()
		return nil, &BusyError{Holder: strings.TrimSpace(string(holder)), Path: path}
	}
	// The content only tells people who holds it.
	_ = os.WriteFile(path, fmt.Appendf(nil, "process %d\n", os.Getpid()), 0o600)
	s.listed = false // what was read before may be old
	s.sweep()
	return func() { _ = l.Close() }, nil
}

// Busy reports whether a process holds the lock.
func (s *Store) Busy() bool {
	l := flock.New(filepath.Join(s.Path, "lock"))
	if _, err := os.Stat(l.Path()); err != nil {
		return false // nothing was ever released from here
	}
	ok, err := l.TryRLock()
	_ = l.Close()
	return err == nil && !ok
}
