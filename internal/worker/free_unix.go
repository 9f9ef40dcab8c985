//go:build unix

package worker

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// localFree is the space on the disk of a daemon on this machine: where
// BuildKit keeps its data by default, else where its socket lies.
func localFree(socket string) *int64 {
	dir := "/var/lib/buildkit"
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(socket)
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return nil
	}
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // types differ by system
	return &free
}
