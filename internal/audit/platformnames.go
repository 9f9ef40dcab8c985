package audit

import (
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// Platforms as packages write them in the names of files and directories.
//
//   - Go: https://go.dev/doc/install/source#environment, goreleaser's linux_amd64_v1
//   - Node.js: process.platform and process.arch, https://github.com/prebuild/prebuildify
//   - Python: https://packaging.python.org/specifications/platform-compatibility-tags
//   - .NET: https://learn.microsoft.com/dotnet/core/rid-catalog
//   - Rust and LLVM: https://doc.rust-lang.org/rustc/platform-support.html
//   - Android: https://developer.android.com/ndk/guides/abis
//   - Java: https://github.com/trustin/os-maven-plugin (aarch_64), JNA and JNI's x86-64
//   - Debian: https://wiki.debian.org/Multiarch/Tuples
var (
	// joined are spellings with a separator within, and how they are written
	// without.
	joined = [][2]string{
		{"x86_64", "amd64"}, {"x86-64", "amd64"}, {"x86_32", "386"}, {"x86-32", "386"}, {"aarch_64", "arm64"}, {"arm_32", "arm"},
		{"ppcle_64", "ppc64le"}, {"ppc_64", "ppc64"}, {"s390_64", "s390x"}, {"riscv_64", "riscv64"}, {"loongarch_64", "loong64"}, {"sparc_64", "sparc64"}, {"itanium_64", "ia64"},
		{"arm64-v8a", "arm64"}, {"armeabi-v7a", "arm"}, {"arm-v5", "arm"}, {"arm-v6", "arm"}, {"arm-v7", "arm"}, {"arm64-v8", "arm64"},
	}
	// namedArchitectures are what a word says of the architecture. Some are
	// written alike for both orders of bytes.
	namedArchitectures = map[string][]string{
		"386": {"386"}, "i386": {"386"}, "i486": {"386"}, "i586": {"386"}, "i686": {"386"}, "x86": {"386"}, "ia32": {"386"},
		"amd64": {"amd64"}, "x64": {"amd64"}, "x8664": {"amd64"}, "em64t": {"amd64"}, "amd64p32": {"amd64p32"}, "x32": {"amd64p32"},
		"arm": {"arm"}, "arm32": {"arm"}, "armhf": {"arm"}, "armel": {"arm"}, "armeabi": {"arm"}, "armv5": {"arm"}, "armv5te": {"arm"}, "armv5tel": {"arm"},
		"armv6": {"arm"}, "armv6l": {"arm"}, "armv6hf": {"arm"}, "armv7": {"arm"}, "armv7l": {"arm"}, "armv7a": {"arm"}, "armv7hf": {"arm"}, "armv7hl": {"arm"}, "armv8l": {"arm"},
		"arm32v5": {"arm"}, "arm32v6": {"arm"}, "arm32v7": {"arm"}, "armv7neon": {"arm"},
		"arm64": {"arm64"}, "aarch64": {"arm64"}, "armv8": {"arm64"}, "arm64v8": {"arm64"}, "arm64e": {"arm64"}, "arm64ec": {"arm64"},
		"loong64": {"loong64"}, "loongarch64": {"loong64"}, "loongarch": {"loong64"},
		"mips": {"mips", "mipsle"}, "mips32": {"mips", "mipsle"}, "mipsle": {"mipsle"}, "mipsel": {"mipsle"},
		"mips64": {"mips64", "mips64le"}, "mips64le": {"mips64le"}, "mips64el": {"mips64le"},
		"ppc": {"ppc"}, "powerpc": {"ppc"}, "ppc64": {"ppc64", "ppc64le"}, "powerpc64": {"ppc64", "ppc64le"}, "ppc64le": {"ppc64le"}, "ppc64el": {"ppc64le"}, "powerpc64le": {"ppc64le"},
		"riscv64": {"riscv64"}, "riscv64gc": {"riscv64"}, "riscv": {"riscv64"}, "riscv32": {"riscv"}, "s390x": {"s390x"}, "s390": {"s390"},
		"sparc64": {"sparc64"}, "sparc": {"sparc"}, "sparcv9": {"sparc64"}, "ia64": {"ia64"}, "wasm": {"wasm"}, "wasm32": {"wasm"},
	}
	// namedSystems are what a word says of the operating system.
	namedSystems = map[string]string{
		"linux": "linux", "manylinux": "linux", "musllinux": "linux", "linuxmusl": "linux", "alpine": "linux", "android": "android",
		"darwin": "darwin", "macos": "darwin", "macosx": "darwin", "osx": "darwin", "mac": "darwin", "apple": "darwin", "maccatalyst": "darwin",
		"ios": "darwin", "iossimulator": "darwin", "iphoneos": "darwin", "iphonesimulator": "darwin", "tvos": "darwin", "tvossimulator": "darwin", "watchos": "darwin", "visionos": "darwin", "xros": "darwin",
		"windows": "windows", "win": "windows", "win32": "windows", "win64": "windows", "mingw": "windows", "mingw32": "windows", "mingw64": "windows", "winnt": "windows", "win10": "windows", "uwp": "windows",
		"freebsd": "freebsd", "openbsd": "openbsd", "netbsd": "netbsd", "dragonfly": "dragonfly", "sunos": "solaris", "solaris": "solaris", "illumos": "solaris", "aix": "aix", "browser": "browser", "wasi": "wasi", "openharmony": "openharmony", "haiku": "haiku",
	}
	// qualifiers go with a platform and name none: C libraries, ABIs, levels.
	qualifiers = []string{"gnu", "musl", "glibc", "libc", "gnueabi", "gnueabihf", "gnuabi64", "musleabi", "musleabihf", "eabi", "eabihf", "msvc", "unknown", "pc", "hardfloat", "softfloat", "hf", "baseline", "modern", "static", "universal", "so", "dylib", "dll", "exe", "node", "bare", "a"}
)

// platformName is what a name says of the platform; stem is what else it says.
type platformName struct {
	archs   []string
	systems []string
	stem    string
}

func (p platformName) some() bool { return len(p.archs)+len(p.systems) > 0 }

// key names the platform, whatever the rest of the name.
func (p platformName) key() string {
	arch := ""
	if len(p.archs) > 0 {
		arch = p.archs[0]
	}
	return strings.Join(p.systems, ",") + "/" + arch
}

// namedPlatform reads one element of a path.
func namedPlatform(element string) platformName {
	var out platformName
	if len(element) > 255 {
		return out
	}
	text := strings.ToLower(element)
	for _, j := range joined {
		text = replaceWord(text, j[0], j[1])
	}
	var stem []string
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r < 0x80 }) {
		switch {
		case out.word(word):
		case slices.Contains(qualifiers, word), isNumber(strings.TrimPrefix(word, "v")):
		default:
			stem = append(stem, word)
		}
	}
	out.stem = strings.Join(stem, " ")
	return out
}

// word takes what one word says, if it is of platforms.
func (p *platformName) word(word string) bool {
	if archs, ok := namedArchitectures[word]; ok {
		p.archs = append(p.archs, archs...)
		return true
	}
	if system, ok := namedSystems[word]; ok {
		p.system(system)
		return true
	}
	// darwinarm64, linux64, macos14, linuxmuslx64
	for _, name := range systemNames {
		rest, ok := strings.CutPrefix(word, name)
		if !ok {
			continue
		}
		archs, named := namedArchitectures[rest]
		switch {
		case named:
		case rest == "64":
			archs = []string{"amd64"}
		case rest == "32":
			archs = []string{"386"}
		case !isNumber(rest):
			continue
		}
		p.system(namedSystems[name])
		p.archs = append(p.archs, archs...)
		return true
	}
	return false
}

func (p *platformName) system(name string) {
	if !slices.Contains(p.systems, name) {
		p.systems = append(p.systems, name)
	}
}

// systemNames are the keys of namedSystems, the longest first.
var systemNames = func() []string {
	var names []string
	for name := range namedSystems {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return names
}()

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// replaceWord replaces old where no letter or digit stands beside it.
func replaceWord(text, old, new string) string {
	for from := 0; ; {
		i := strings.Index(text[from:], old)
		if i < 0 {
			return text
		}
		i += from
		end := i + len(old)
		if (i == 0 || !alphanumeric(text[i-1])) && (end == len(text) || !alphanumeric(text[end])) {
			text = text[:i] + new + text[end:]
			from = i + len(new)
			continue
		}
		from = i + 1
	}
}

func alphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z'
}

// fits reports whether a name that says something of a platform may be of the
// image's.
func (p platformName) fits(system, arch string) bool {
	return (len(p.archs) == 0 || slices.Contains(p.archs, arch)) && (len(p.systems) == 0 || slices.Contains(p.systems, system))
}

// relatives are what lies beside a file under the names of other platforms.
type relatives struct {
	// own reports whether there is one for the image's platform, several
	// whether there are others for at least two.
	own, several bool
}

// maxSiblings bounds how many neighbours of a file are looked at.
const maxSiblings = 5000

// relativesOf looks along the path of a foreign file for an element that names
// a platform, and beside it for those that are named alike.
func (j *judgment) relativesOf(name string) relatives {
	var out relatives
	dir := j.fs.Root()
	system, arch := j.platform.OS, j.platform.Architecture
	scope := "" // the elements before
	for rest := strings.TrimPrefix(name, "/"); dir != nil && rest != ""; {
		part, after, _ := strings.Cut(rest, "/")
		rest = after
		// A package for one platform is not a directory of a package for many.
		apart := scope == "node_modules" || strings.HasPrefix(scope, "node_modules/@")
		if strings.HasPrefix(part, "@") && scope == "node_modules" {
			scope += "/" + part
		} else {
			scope = part
		}
		own := namedPlatform(part)
		if own.some() || rest == "" { // libx.so beside libx-aarch64.so
			keys := map[string]bool{own.key(): true}
			count := 0
			for sibling, n := range dir.Children {
				if count++; count > maxSiblings {
					break
				}
				other := namedPlatform(sibling)
				if sibling == part || !other.some() || other.stem != own.stem {
					continue
				}
				keys[other.key()] = true
				if !out.own && other.fits(system, arch) && j.holdsOwn(n, other) {
					out.own = true
				}
			}
			out.several = out.several || len(keys) > 1 && !apart
		}
		dir = dir.Children[part]
	}
	return out
}

// holdsOwn reports whether a file, or one of those in a directory, is a program
// or library for the image's platform. A directory that names it by its full
// name need not hold one.
func (j *judgment) holdsOwn(n *rootfs.Inode, named platformName) bool {
	left := 2000
	foreign := false
	var holds func(n *rootfs.Inode) bool
	holds = func(n *rootfs.Inode) bool {
		if left--; left < 0 {
			return false
		}
		if n.Kind == rootfs.KindDir {
			for _, child := range n.Children {
				if holds(child) {
					return true
				}
			}
			return false
		}
		if n.Kind == rootfs.KindSymlink {
			return false
		}
		if n.File != nil && n.File.ELF != nil {
			if n.File.ELF.Architecture() == j.platform.Architecture {
				return true
			}
			foreign = true
		}
		return false
	}
	if n.Kind == rootfs.KindSymlink {
		return slices.Contains(named.archs, j.platform.Architecture)
	}
	return holds(n) || !foreign && slices.Contains(named.archs, j.platform.Architecture)
}

// namesSystem reports whether an element of a path names another operating
// system than the image's, one of those given.
func namesSystem(name string, systems ...string) bool {
	for part := range strings.SplitSeq(name, "/") {
		for _, s := range namedPlatform(part).systems {
			if slices.Contains(systems, s) {
				return true
			}
		}
	}
	return false
}
