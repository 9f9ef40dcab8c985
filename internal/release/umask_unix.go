//go:build unix

package release

import "syscall"

// privateUmask sets another umask than most releases are built under, for what
// prepare commands write, and returns what sets the old one again.
func privateUmask() (restore func()) {
	old := syscall.Umask(0o077)
	return func() { syscall.Umask(old) }
}
