package reach

import (
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// loaderState is what loaders are configured with.
type loaderState struct {
	configured []string            // directories of ld.so.conf
	cached     map[string][]string // paths in ld.so.cache, by base name
	everywhere map[string][]string // all files, by base name; made when it is needed
	muslPaths  map[string][]string // by architecture
	found      map[string]string   // results of search
}

func (g *graph) loaderSetup() {
	g.found, g.cached, g.muslPaths = map[string]string{}, map[string][]string{}, map[string][]string{}
	g.configured = g.loaderConfig("/etc/ld.so.conf", map[string]bool{})
	if n := g.fs.Lookup("/etc/ld.so.cache"); n != nil && n.File != nil {
		for _, p := range n.File.Libraries {
			g.cached[path.Base(p)] = append(g.cached[path.Base(p)], p)
		}
	}
}

// maxLoaderDirs bounds the directories that are searched.
const maxLoaderDirs = 1000

// loaderConfig reads ld.so.conf and what it includes, each file once.
// https://man7.org/linux/man-pages/man8/ldconfig.8.html
func (g *graph) loaderConfig(at string, seen map[string]bool) []string {
	n, real := g.fs.Resolve(at, true)
	if n == nil || n.File == nil || seen[real] || len(seen) > 200 {
		return nil
	}
	seen[real] = true
	var dirs []string
	for line := range strings.Lines(string(n.File.Text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n,:", r) })
		if len(words) == 0 || words[0] == "hwcap" {
			continue
		}
		if words[0] == "include" {
			for _, pattern := range words[1:] {
				if !strings.HasPrefix(pattern, "/") {
					pattern = path.Join(path.Dir(at), pattern)
				}
				for _, file := range Glob(g.fs, pattern, 200) {
					dirs = append(dirs, g.loaderConfig(file, seen)...)
				}
			}
			continue
		}
		for _, dir := range words {
			if len(dirs) < maxLoaderDirs && strings.HasPrefix(dir, "/") {
				dirs = append(dirs, path.Clean(dir))
			}
		}
	}
	return dirs
}

// defaultDirs are where glibc's loader looks for libraries of a program
// without being told.
func defaultDirs(e *rootfs.ELF) []string {
	arch := e.Architecture()
	triplet := machines[arch].triplet
	if arch == "arm" && !strings.Contains(e.Interp, "armhf") && e.Interp != "" {
		triplet = "arm-linux-gnueabi"
	}
	dirs := []string{"/lib/" + triplet, "/usr/lib/" + triplet}
	if bits64(arch) {
		dirs = append(dirs, "/lib64", "/usr/lib64")
	}
	if arch == "riscv64" {
		dirs = append(dirs, "/lib64/lp64d", "/usr/lib64/lp64d")
	}
	dirs = append(dirs, "/lib", "/usr/lib")
	switch arch {
	case "386":
		dirs = append(dirs, "/lib32", "/usr/lib32")
	case "amd64p32":
		dirs = append(dirs, "/libx32", "/usr/libx32")
	}
	return dirs
}

// libraryDirs are the directories in which loaders look for libraries of the
// platform, whatever program it is.
func (g *graph) libraryDirs(p process) []string {
	arch := g.image.Platform.Architecture
	dirs := []string{"/lib", "/usr/lib", "/usr/local/lib", "/lib/" + machines[arch].triplet, "/usr/lib/" + machines[arch].triplet}
	if arch == "arm" {
		dirs = append(dirs, "/lib/arm-linux-gnueabi", "/usr/lib/arm-linux-gnueabi")
	}
	if bits64(arch) {
		dirs = append(dirs, "/lib64", "/usr/lib64", "/usr/local/lib64")
	}
	for _, dir := range g.configured {
		if !otherABI(dir, arch) {
			dirs = append(dirs, dir)
		}
	}
	for _, list := range p.env["LD_LIBRARY_PATH"].alts {
		for dir := range strings.SplitSeq(list, ":") {
			if strings.HasPrefix(dir, "/") {
				dirs = append(dirs, path.Clean(dir))
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// otherABI reports whether a directory of ld.so.conf is one of another
// architecture, whose libraries the loader passes over.
func otherABI(dir, arch string) bool {
	for part := range strings.SplitSeq(dir, "/") {
		switch part {
		case "lib32", "libx32":
			return true
		case "lib64":
			if !bits64(arch) {
				return true
			}
		}
		if cpu, abi, ok := strings.Cut(part, "-linux-"); ok && abi != "" && !strings.HasPrefix(machines[arch].triplet, cpu+"-") && !(arch == "386" && strings.HasSuffix(cpu, "86")) {
			return true
		}
	}
	return false
}
