package rootfs

import (
	"bytes"
	"encoding/binary"
	"io"
	"path"
	"slices"
	"strings"
)

// MaxText is how much of one script or configuration file is kept, in bytes.
const MaxText = 256 << 10

// keep remembers what a file says. Its first bytes were read already; what is
// over a bound is left out, and Cut set.
func (f *File) keep(head []byte, r io.Reader, size int64, texts *int) error {
	most := int64(min(MaxText, max(*texts, 0)))
	f.Cut = size > most
	n := min(size, most)
	if n <= int64(len(head)) {
		f.Text = head[:n]
	} else {
		f.Text = make([]byte, n)
		copy(f.Text, head)
		if _, err := io.ReadFull(r, f.Text[len(head):]); err != nil {
			return unexpected(err)
		}
	}
	*texts -= int(n)
	return nil
}

// shells are the interpreters whose scripts are kept, execline's among them.
var shells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox", "execlineb", "with-contenv"}

// isShell reports whether a first line is that of a script whose text matters.
func isShell(shebang string) bool {
	words := strings.Fields(shebang)
	if len(words) == 0 {
		return false
	}
	if slices.Contains(shells, path.Base(words[0])) {
		return true
	}
	return path.Base(words[0]) == "env" && slices.ContainsFunc(words[1:], func(w string) bool { return slices.Contains(shells, path.Base(w)) })
}

// configs are the files whose text says what an image starts and where its
// programs look.
var configs = []string{
	"etc/passwd", "etc/group", "etc/os-release", "usr/lib/os-release",
	"etc/ld.so.conf", "etc/ld.so.conf.d/*.conf", "etc/ld-musl-*.path", "etc/ld.so.preload",
	"supervisord.conf", "etc/supervisor/*", "supervisor/conf.d/*", "supervisor.d/*", "supervisord.d/*", "supervisord/*",
	"s6-rc.d/*/up", "s6-rc.d/*/run", "s6-rc.d/*/finish",
	"systemd/system/*.service", "etc/inittab", "Procfile*",
}

// isConfig reports whether the last elements of a path are those of a file in
// configs. A shell script without a first line is known by its suffix, a
// package.json is that of an application unless it lies in node_modules.
func isConfig(name string) bool {
	base := path.Base(name)
	if strings.HasSuffix(base, ".sh") || base == "package.json" && !strings.Contains("/"+name, "/node_modules/") {
		return true
	}
	return matchesTail(name, configs)
}

// loaderCache reads the paths in a cache that ldconfig wrote.
// https://sourceware.org/git/?p=glibc.git;f=sysdeps/generic/dl-cache.h
func loaderCache(raw []byte) []string {
	const magic, headerSize, entrySize, most = "glibc-ld.so.cache1.1", 48, 24, 20_000
	start := bytes.Index(raw, []byte(magic)) // an older format may stand before it
	if start < 0 || len(raw)-start < headerSize {
		return nil
	}
	raw = raw[start:]
	var order binary.ByteOrder = binary.LittleEndian
	n := order.Uint32(raw[len(magic):])
	if n > most {
		order = binary.BigEndian
		n = order.Uint32(raw[len(magic):])
	}
	var paths []string
	for i := range min(n, most) {
		at := headerSize + int(i)*entrySize
		if at+entrySize > len(raw) {
			break
		}
		value := uint64(order.Uint32(raw[at+8:]))
		if value >= uint64(len(raw)) {
			continue
		}
		p, _, ok := bytes.Cut(raw[value:min(uint64(len(raw)), value+maxPath)], []byte{0})
		if ok && len(p) > 0 && p[0] == '/' {
			paths = append(paths, string(p))
		}
	}
	return paths
}
