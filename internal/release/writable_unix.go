//go:build unix

package release

import "golang.org/x/sys/unix"

// mayWrite is an error where no file may be made in the directory.
func mayWrite(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }
