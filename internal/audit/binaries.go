package audit

import (
	"debug/elf"
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/reach"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// stray is a foreign file that nothing is known to start.
type stray struct {
	name string
	n    *rootfs.Inode
}

// survey counts the programs and libraries of the image and finds the foreign
// ones.
func (j *judgment) survey(image *Image) {
	j.kinds = map[string]int{}
	seen := map[*rootfs.File]bool{}
	j.fs.Each(func(name string, n *rootfs.Inode) {
		if n.Kind != rootfs.KindFile || n.File == nil {
			return
		}
		f := n.File
		switch f.Format {
		case rootfs.FormatELF, rootfs.FormatMachO, rootfs.FormatPE:
			image.Executables++
		default:
			return
		}
		if seen[f] {
			return
		}
		seen[f] = true
		if f.Format == rootfs.FormatELF {
			if f.ELF.Type != elf.ET_EXEC && f.ELF.Type != elf.ET_DYN {
				return // object files, core dumps
			}
			if f.ELF.Architecture() == j.platform.Architecture {
				j.own++
				j.kinds[f.ELF.String()]++
				return
			}
		}
		j.strays = append(j.strays, stray{name, n})
	})
}

// judgeBinaries judges the foreign files that nothing is known to start. How
// severe one is depends on what it is, and on what would load it.
func (j *judgment) judgeBinaries(image *Image) {
	for _, s := range j.strays {
		if j.programs[s.name] {
			continue
		}
		if s.n.File.Format == rootfs.FormatELF {
			j.judgeStray(s.name, s.n)
		} else {
			j.otherFormat(s.name, s.n)
		}
	}
	image.Allowed = j.allowedFiles
	if j.main != nil && j.main.Format == rootfs.FormatELF {
		image.Binaries = j.main.ELF.String()
		return
	}
	most := 0
	for kind, n := range j.kinds {
		if n > most || n == most && kind < image.Binaries {
			most, image.Binaries = n, kind
		}
	}
	if j.main != nil && j.main.Format == rootfs.FormatScript {
		image.Binaries = strings.TrimSuffix(j.main.String()+"; "+image.Binaries, "; ")
	}
}

// judgeStray judges a foreign ELF file.
func (j *judgment) judgeStray(name string, n *rootfs.Inode) {
	e := n.File.ELF
	arch := e.Architecture()
	is := "it is for " + e.MachineName() + ", the image for " + j.node.Platform
	switch {
	case arch == "", e.Micro, strings.HasSuffix(name, ".c32"):
		j.allowedFiles++ // firmware, BPF, code for graphics cards, of boot loaders
		return
	case j.platform.Architecture == "amd64" && (arch == "386" || arch == "amd64p32") && j.own > 0:
		j.allowedFiles++
		return
	case j.found.rules.user(name), j.otherABI(name, arch):
		j.allowedFiles++
		return
	}
	relatives := j.relativesOf(name)
	if m, ok := j.module(name); ok {
		switch {
		case relatives.own:
			j.allowedFiles++
			return
		case relatives.several:
			// A package for many platforms that lacks this one may do without.
			j.stray(Warning, m, name, n, is+"; the package has none for that")
			return
		}
		j.stray(Error, m, name, n, is)
		return
	}
	library := e.Type == elf.ET_DYN && e.Interp == ""
	switch {
	case library && slices.Contains(j.reach.LibraryDirs, path.Dir(name)) && !relatives.own:
		j.add(Error, "elf-architecture", name, n, "%s, in a directory of the system's libraries", is)
	case j.found.rules.allowed(name), relatives.own:
		j.allowedFiles++
	case j.own == 0:
		j.add(Error, "elf-architecture", name, n, "%s, and no file is for that", is)
	case (library && (strings.Contains(path.Base(name), ".so") || len(e.Needed) > 0 || e.SoName != "") || helper(name)) && j.unqualified(name) && !isTestData(name) && reach.JavaHome(j.fs, name) == "":
		// A package for several platforms says so in its names: what says
		// nothing is what its program loads or starts on this one.
		j.add(Error, "elf-architecture", name, n, "%s, and nothing beside it is for that", is)
	default:
		j.add(Warning, "elf-architecture", name, n, "%s", is)
	}
}

// module reports what would load a file at run time. Test data of packages is
// not loaded, nor is a Java runtime that nothing starts.
func (j *judgment) module(name string) (reach.Module, bool) {
	if isTestData(name) {
		return reach.Module{}, false
	}
	m, ok := reach.ModuleOf(j.fs, name)
	if ok && m.Runtime == "java" {
		if home := reach.JavaHome(j.fs, name); home != "" {
			_, real := j.fs.Resolve(home+"/bin/java", true)
			return m, j.reach.File(real) != nil
		}
	}
	return m, ok
}

// isTestData reports whether a file lies where packages keep data of tests.
func isTestData(name string) bool {
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		switch part {
		case "test", "tests", "testdata", "fixtures", "__tests__", "spec", "testing", "examples", "samples":
			return true
		}
	}
	return false
}

// helper reports whether a file lies where packages keep programs that they
// start themselves.
// https://refspecs.linuxfoundation.org/FHS_3.0/fhs/ch04s07.html
func helper(name string) bool {
	for _, dir := range []string{"/usr/libexec/", "/usr/lib/", "/usr/local/libexec/", "/usr/local/lib/", "/lib/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// unqualified reports whether no element of a path names a platform but the
// image's.
func (j *judgment) unqualified(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if named := namedPlatform(part); named.some() && !named.fits(j.platform.OS, j.platform.Architecture) {
			return false
		}
	}
	return true
}

// stray adds a finding about a module, with what would load it.
func (j *judgment) stray(severity Severity, m reach.Module, name string, n *rootfs.Inode, message string) {
	f := j.finding(severity, "elf-architecture", name, n, "%s", message)
	f.Evidence = append(f.Evidence, "it is "+m.Kind)
	f.Chain = append(slices.Clone(j.reach.Interpreters[m.Runtime]), m.Kind, name)
	j.found.add(f)
}

// otherABI reports whether a file lies where libraries of another architecture
// do on systems that have several: Debian's directories, lib32 and the like.
func (j *judgment) otherABI(name, arch string) bool {
	parts := strings.Split(strings.TrimPrefix(name, "/"), "/")
	if parts[0] == "usr" {
		parts = parts[1:]
	}
	if len(parts) > 1 && parts[0] == "local" {
		parts = parts[1:]
	}
	if len(parts) < 2 {
		return false
	}
	switch parts[0] {
	case "lib32", "libx32", "libo32", "libn32":
		return true
	case "lib64":
		switch j.platform.Architecture {
		case "386", "arm", "mips", "mipsle", "ppc":
			return true
		}
	case "lib":
		parts = parts[1:]
	}
	// usr/lib/aarch64-linux-gnu/…, usr/aarch64-linux-gnu/…
	cpu, abi, ok := strings.Cut(parts[0], "-linux-")
	return ok && abi != "" && len(parts) > 1 && slices.Contains(namedPlatform(cpu).archs, arch)
}

// otherFormat judges a Mach-O or PE file among Linux files.
func (j *judgment) otherFormat(name string, n *rootfs.Inode) {
	f := n.File
	switch {
	case f.Managed, f.EFI, f.Format == rootfs.FormatPE && f.Library:
		j.allowedFiles++ // .NET runs anywhere, firmware starts EFI's
	case j.found.rules.allowed(name), f.Format == rootfs.FormatMachO && (namesSystem(name, "darwin") || strings.HasSuffix(name, ".dylib")):
		j.allowedFiles++
	case f.Format == rootfs.FormatPE && (namesSystem(name, "windows") || strings.HasSuffix(strings.ToLower(name), ".exe") || strings.HasSuffix(strings.ToLower(name), ".efi")):
		j.allowedFiles++
	case f.Format == rootfs.FormatMachO && slices.Contains(j.reach.LibraryDirs, path.Dir(name)):
		j.add(Error, "foreign-format", name, n, "it is a macOS file (%s), the image is for %s", f.Machine, j.node.Platform)
	case f.Format == rootfs.FormatMachO:
		j.add(Warning, "foreign-format", name, n, "it is a macOS file (%s), the image is for %s", f.Machine, j.node.Platform)
	default:
		j.add(Warning, "foreign-format", name, n, "it is a Windows program (%s), the image is for %s", f.Machine, j.node.Platform)
	}
}
