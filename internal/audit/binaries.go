package audit

import (
	"debug/elf"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// fits judges whether an ELF file that will be run can be, on the platform.
func (j *judgment) fits(name string, n *rootfs.Inode, what string) bool {
	e := n.File.ELF
	want := j.platform.Architecture
	if got := e.Architecture(); got != want {
		severity := Error
		if want == "amd64" && got == "386" {
			severity = Warning // such kernels run it, unless they were told not to
		}
		j.add(severity, "elf-architecture", name, n, "%s is for %s, the image for %s", what, e.MachineName(), j.node.Platform)
		return severity != Error
	}
	j.level(name, n, what, Error)
	return true
}

// level judges what a file of the right architecture needs of the CPU.
func (j *judgment) level(name string, n *rootfs.Inode, what string, severity Severity) {
	e := n.File.ELF
	if e.Micro {
		j.add(severity, "elf-variant", name, n, "%s is for ARM microcontrollers", what)
		return
	}
	if need, have := e.ARMLevel(), variantNumber(j.platform.Variant, 7); need > have {
		j.add(severity, "elf-variant", name, n, "%s is code for ARMv%d, the image is for %s", what, need, j.node.Platform)
	}
	if need, have := e.AMD64Level(), variantNumber(j.platform.Variant, 1); need > have {
		s := severity
		if need < 3 {
			s = Warning // what every machine of the last fifteen years has
		}
		j.add(s, "elf-level", name, n, "%s needs x86-64-v%d, the image is for %s", what, need, j.node.Platform)
	}
	if e.Architecture() == "arm64" {
		need, _, _ := strings.Cut(e.GoSettings["GOARM64"], ",")
		have := j.platform.Variant
		if have == "" {
			have = "v8.0"
		}
		if newer(need, have) {
			j.add(severity, "elf-level", name, n, "%s needs ARM%s, the image is for %s", what, need, j.node.Platform)
		}
	}
	for _, setting := range []struct{ arch, key, base string }{{"ppc64le", "GOPPC64", "power8"}, {"riscv64", "GORISCV64", "rva20u64"}} {
		need := e.GoSettings[setting.key]
		if e.Architecture() == setting.arch && need != "" && need != setting.base && need != j.platform.Variant {
			j.add(Warning, "elf-level", name, n, "%s needs %s, the image is for %s", what, need, j.node.Platform)
		}
	}
}

// variantNumber reads "v7"; left out, it is the default.
func variantNumber(variant string, normal int) int {
	if n, err := strconv.Atoi(strings.TrimPrefix(variant, "v")); err == nil {
		return n
	}
	return normal
}

// newer compares versions such as v8.2 and v9.
func newer(a, b string) bool {
	parse := func(v string) (major, minor int, ok bool) {
		x, y, _ := strings.Cut(strings.TrimPrefix(v, "v"), ".")
		major, err := strconv.Atoi(x)
		if err != nil {
			return 0, 0, false
		}
		minor, _ = strconv.Atoi(y)
		return major, minor, true
	}
	am, an, ok := parse(a)
	bm, bn, fine := parse(b)
	// Each 9.n has all of 8.(n+5).
	if am == 9 && bm == 8 {
		am, an = 8, an+5
	} else if am == 8 && bm == 9 {
		bm, bn = 8, bn+5
	}
	return ok && fine && (am > bm || am == bm && an > bn)
}

// judgeBinaries judges the programs and libraries that no one starts by name.
// How grave a foreign one is depends on where it lies.
func (j *judgment) judgeBinaries(image *Image) {
	type stray struct {
		name string
		n    *rootfs.Inode
	}
	var strays []stray
	own := 0
	kinds := map[string]int{}
	seen := map[*rootfs.File]bool{}
	j.fs.Each(func(name string, n *rootfs.Inode) {
		if n.Kind != rootfs.KindFile {
			return
		}
		f := n.File
		if f == nil {
			return
		}
		switch f.Format {
		case rootfs.FormatELF, rootfs.FormatMachO, rootfs.FormatPE:
			image.Executables++
		default:
			return
		}
		if j.programs[name] || seen[f] {
			if f.Format == rootfs.FormatELF && f.ELF.Architecture() == j.platform.Architecture {
				own++
				kinds[f.ELF.String()]++
			}
			return
		}
		seen[f] = true
		switch {
		case f.Format != rootfs.FormatELF:
			j.strange(name, n, image)
		case f.ELF.Type != elf.ET_EXEC && f.ELF.Type != elf.ET_DYN:
		case f.ELF.Architecture() == "", f.ELF.Micro:
			image.Allowed++ // firmware, BPF, code for graphics cards
		case f.ELF.Architecture() == j.platform.Architecture:
			own++
			kinds[f.ELF.String()]++
			j.ownBinary(name, n)
		case j.platform.Architecture == "amd64" && (f.ELF.Architecture() == "386" || f.ELF.Architecture() == "amd64p32"):
			image.Allowed++
		case j.found.rules.allowed(name), j.meant(name, f.ELF.Architecture()):
			image.Allowed++
		default:
			strays = append(strays, stray{name, n})
		}
	})
	for _, s := range strays {
		severity := Warning
		if own == 0 || j.isStandard(path.Dir(s.name)) {
			severity = Error
		}
		j.add(severity, "elf-architecture", s.name, s.n, "it is for %s, the image for %s", s.n.File.ELF.MachineName(), j.node.Platform)
	}
	if j.main != nil && j.main.Format == rootfs.FormatELF {
		image.Binaries = j.main.ELF.String()
		return
	}
	most := 0
	for kind, n := range kinds {
		if n > most || n == most && kind < image.Binaries {
			most, image.Binaries = n, kind
		}
	}
	if j.main != nil && j.main.Format == rootfs.FormatScript {
		image.Binaries = strings.TrimSuffix(j.main.String()+"; "+image.Binaries, "; ")
	}
}

// ownBinary judges a file of the right architecture that is not started by
// name.
func (j *judgment) ownBinary(name string, n *rootfs.Inode) {
	if !j.isPath(path.Dir(name)) || n.Mode&0o111 == 0 || j.found.rules.allowed(name) {
		return
	}
	j.level(name, n, "it", Warning)
	if n.File.ELF.Interp != "" {
		j.loader(name, n, Warning)
	}
}

// strange judges a Mach-O or PE file among Linux files.
func (j *judgment) strange(name string, n *rootfs.Inode, image *Image) {
	f := n.File
	switch {
	case j.found.rules.allowed(name), j.meantSystem(name):
		image.Allowed++
	case f.Format == rootfs.FormatMachO && j.isStandard(path.Dir(name)):
		j.add(Error, "foreign-format", name, n, "it is a macOS file (%s), the image is for %s", f.Machine, j.node.Platform)
	case f.Format == rootfs.FormatMachO:
		j.add(Warning, "foreign-format", name, n, "it is a macOS file (%s), the image is for %s", f.Machine, j.node.Platform)
	case f.Library, strings.HasSuffix(strings.ToLower(name), ".exe"), strings.HasSuffix(strings.ToLower(name), ".efi"):
		image.Allowed++ // .NET and Mono run such files anywhere, EFI starts them
	case j.isPath(path.Dir(name)):
		j.add(Error, "foreign-format", name, n, "it is a Windows program (%s), the image is for %s", f.Machine, j.node.Platform)
	default:
		j.add(Warning, "foreign-format", name, n, "it is a Windows program (%s), the image is for %s", f.Machine, j.node.Platform)
	}
}

// isPath tells whether programs in a directory are found by name.
func (j *judgment) isPath(dir string) bool {
	return slices.Contains(strings.Split(defaultPath, ":"), dir) || slices.Contains(strings.Split(j.path(), ":"), dir)
}

// isStandard tells whether programs and libraries in a directory are found by
// name.
func (j *judgment) isStandard(dir string) bool {
	switch dir {
	case "/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64":
		return true
	}
	if base := path.Base(dir); namesArch(base, j.platform.Architecture) && strings.Contains(base, "-linux-") {
		return path.Dir(dir) == "/lib" || path.Dir(dir) == "/usr/lib"
	}
	return j.isPath(dir)
}

// spellings are the names that files and directories give architectures.
var spellings = map[string][]string{
	"386":      {"386", "i386", "i486", "i586", "i686", "x86", "ia32", "linux32", "win32"},
	"amd64":    {"amd64", "x86_64", "x86-64", "x64", "linux64"},
	"arm":      {"arm", "armhf", "armel", "armv5", "armv6", "armv6l", "armv7", "armv7l", "armv7a", "armv7hf", "arm32", "arm-v7", "arm-v6"},
	"arm64":    {"arm64", "aarch64", "armv8", "arm64-v8a"},
	"loong64":  {"loong64", "loongarch64"},
	"mips":     {"mips"},
	"mipsle":   {"mipsle", "mipsel"},
	"mips64":   {"mips64"},
	"mips64le": {"mips64le", "mips64el"},
	"ppc64":    {"ppc64", "powerpc64"},
	"ppc64le":  {"ppc64le", "ppc64el", "powerpc64le"},
	"riscv64":  {"riscv64", "riscv64gc"},
	"s390x":    {"s390x"},
}

// namesArch tells whether a file name says that it is of an architecture.
func namesArch(name, arch string) bool {
	name = strings.ToLower(name)
	for _, s := range spellings[arch] {
		for from := 0; ; {
			i := strings.Index(name[from:], s)
			if i < 0 {
				break
			}
			i += from
			end := i + len(s)
			before := i == 0 || !alphanumeric(name[i-1])
			after := end == len(name) || !alphanumeric(name[end])
			if s == "x86" && end < len(name) && (strings.HasPrefix(name[end:], "_64") || strings.HasPrefix(name[end:], "-64")) {
				after = false
			}
			if before && after {
				return true
			}
			from = i + 1
		}
	}
	return false
}

func alphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z'
}

// maxSiblings bounds how many neighbours of a file are looked at.
const maxSiblings = 5000

// meant tells whether a file of another architecture is one of several: its
// path names the architecture, and beside it lies what is named after the
// image's own. Debian's directories of libraries need no neighbour.
func (j *judgment) meant(name, arch string) bool {
	dir := j.fs.Root()
	for rest := name; dir != nil; {
		var part string
		part, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		if part == "" {
			return false
		}
		if namesArch(part, arch) {
			if rest != "" && strings.Contains(part, "-linux-") {
				return true // usr/lib/aarch64-linux-gnu
			}
			count := 0
			for sibling := range dir.Children {
				if count++; count > maxSiblings {
					break
				}
				if sibling != part && namesArch(sibling, j.platform.Architecture) {
					return true
				}
			}
		}
		dir = dir.Children[part]
	}
	return false
}

// meantSystem tells whether the path of a file names its operating system, as
// packages for several do.
func (j *judgment) meantSystem(name string) bool {
	for part := range strings.SplitSeq(strings.ToLower(name), "/") {
		for _, system := range []string{"darwin", "macos", "osx", "windows", "win32", "win-x64", "win-arm64", "win", "mac"} {
			if part == system || strings.HasPrefix(part, system+"-") || strings.HasPrefix(part, system+"_") || strings.Contains(part, "-"+system) || strings.Contains(part, "_"+system) {
				return true
			}
		}
	}
	return strings.HasSuffix(name, ".dylib")
}

// judgeWindows judges the program of a Windows image, whose layers keep the
// file system in a directory of its own.
func (j *judgment) judgeWindows() {
	argv := append(slices.Clone(j.config.Entrypoint), j.config.Cmd...)
	if len(argv) == 0 {
		return
	}
	name := strings.ReplaceAll(argv[0], `\`, "/")
	if len(name) > 1 && name[1] == ':' {
		name = name[2:]
	}
	n, real := j.fold("/Files", strings.TrimPrefix(name, "/"))
	if n == nil {
		n, real = j.fold("/Files", strings.TrimPrefix(name, "/")+".exe")
	}
	if n == nil || n.File == nil {
		return // layers of the base are not here as a rule
	}
	f := n.File
	j.main, j.mainPath = f, real
	switch {
	case f.Format == rootfs.FormatELF || f.Format == rootfs.FormatMachO:
		j.add("", "foreign-format", real, n, "the entrypoint is %s, the image is for windows", f)
	case f.Format == rootfs.FormatPE && !runsOnWindows(f.Machine, j.platform.Architecture):
		j.add("", "elf-architecture", real, n, "the entrypoint is for %s, the image for %s", f.Machine, j.node.Platform)
	}
}

// runsOnWindows tells what Windows runs: 386 on amd64, and all on arm64.
func runsOnWindows(machine, arch string) bool {
	return machine == arch || arch == "arm64" || arch == "amd64" && machine == "386"
}

// fold finds a file without regard to case.
func (j *judgment) fold(root, name string) (*rootfs.Inode, string) {
	at, real := j.fs.Lookup(root), root
	for part := range strings.SplitSeq(name, "/") {
		if at == nil {
			return nil, ""
		}
		next := at.Children[part]
		if next == nil {
			for candidate, child := range at.Children {
				if strings.EqualFold(candidate, part) {
					part, next = candidate, child
					break
				}
			}
		}
		at, real = next, real+"/"+part
	}
	return at, real
}
