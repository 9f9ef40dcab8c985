package inputs

import (
	"os"
	"syscall"
)

// identify tells a file and its state from all others.
func identify(path string) (fileID, bool) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return fileID{}, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{
		device: uint64(st.Dev), inode: st.Ino, //nolint:unconvert // narrower on some architectures
		size: st.Size, mtime: st.Mtim.Nano(), change: st.Ctim.Nano(),
	}, true
}
