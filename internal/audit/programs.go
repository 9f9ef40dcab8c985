package audit

import (
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/reach"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// judgePrograms judges what the image reaches: the files that it starts and
// loads, and what stands in the way.
func (j *judgment) judgePrograms() {
	c := j.config
	j.reach = reach.Find(reach.Image{
		FS: j.fs, Platform: j.platform, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, User: c.User, Healthcheck: c.Healthcheck,
	})
	if p := j.reach.Program; p != nil {
		j.main, j.mainPath = p.Inode.File, p.Path
	}
	for _, f := range j.reach.Files {
		j.judgeReached(f)
	}
	for _, p := range j.reach.Problems {
		j.judgeProblem(p)
	}
}

// distribution are the directories of programs that packages of the system
// fill, scripts of optional parts among them, as chains begin with them.
var distribution = []string{"PATH directory /bin", "PATH directory /sbin", "PATH directory /usr/bin", "PATH directory /usr/sbin"}

// judgeProblem gives what stands in the way of a program its check and
// severity.
func (j *judgment) judgeProblem(p reach.Problem) {
	if j.incomplete != "" && p.Kind != reach.NotExecutable && p.Kind != reach.NoVersion && p.Kind != reach.NotUnderstood {
		return // what is missed may be in what was not read
	}
	severity := Error
	if !p.Sure {
		severity = Warning
	}
	id := ""
	switch p.Kind {
	case reach.NoProgram:
		id = "entrypoint-missing"
	case reach.NotExecutable:
		if !p.Sure {
			return
		}
		id = "entrypoint-not-executable"
	case reach.NoInterpreter:
		id = "script-interpreter"
		if p.OnPath && slices.Contains(distribution, p.Chain[0]) {
			severity = Note
		}
	case reach.NoLoader:
		id = "interpreter-missing"
		severity = j.unlessPartial(p, severity)
	case reach.NoLibrary:
		id = "library-missing"
		severity = j.unlessPartial(p, severity)
		if injected(p.Library) {
			severity = Note
		}
	case reach.Misplaced:
		id = "library-missing"
		if p.OnPath {
			severity = Warning
		}
	case reach.NoVersion:
		id = "libc-version"
		severity = j.unlessPartial(p, severity)
	case reach.NotUnderstood:
		id, severity = "script-unread", Note
	}
	if p.OnPath && j.found.rules.user(p.Path) {
		return
	}
	f := j.finding(severity, id, p.Path, p.Inode, "%s", p.Message)
	f.Evidence = append(f.Evidence, p.Evidence...)
	f.Chain = p.Chain
	j.found.add(f)
}

// unlessPartial makes what is wrong with a program in a directory of the
// system a warning where no package manager knows the system to be complete:
// files were picked from packages then, and not each of them is meant to run.
func (j *judgment) unlessPartial(p reach.Problem, severity Severity) Severity {
	if !p.OnPath || !slices.Contains(distribution, p.Chain[0]) {
		return severity
	}
	for _, database := range []string{"/var/lib/dpkg/info", "/lib/apk/db/installed", "/usr/lib/apk/db/installed", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/pacman/local"} {
		if j.fs.Lookup(database) != nil {
			return severity
		}
	}
	return Warning
}

// injected knows libraries that container runtimes bring from the host.
// https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/
func injected(lib string) bool {
	for _, prefix := range []string{"libcuda.so", "libnvidia-", "libnvcuvid.so", "libnvoptix", "libGLX_nvidia", "libEGL_nvidia", "libcudadebugger.so"} {
		if strings.HasPrefix(lib, prefix) {
			return true
		}
	}
	return false
}

// judgeReached judges whether a file that is run or loaded can be, on the
// platform.
func (j *judgment) judgeReached(r *reach.File) {
	f := r.Inode.File
	if f == nil || j.programs[r.Path] {
		return
	}
	j.programs[r.Path] = true
	switch f.Format {
	case rootfs.FormatELF:
		j.reachedELF(r, f.ELF)
	case rootfs.FormatWasm:
		if !r.OnPath {
			j.reached(r, Warning, "foreign-format", "%s is WebAssembly, the image says %s", r.What, j.node.Platform)
		}
	case rootfs.FormatMachO, rootfs.FormatPE:
		switch {
		case f.Managed, f.EFI, r.OnPath && j.found.rules.user(r.Path):
		case f.Format == rootfs.FormatMachO:
			j.reached(r, Error, "foreign-format", "%s is a macOS file (%s), the image is for %s", r.What, f.Machine, j.platform.OS)
		default:
			j.reached(r, Error, "foreign-format", "%s is a Windows program (%s), the image is for %s", r.What, f.Machine, j.platform.OS)
		}
	}
}

func (j *judgment) reachedELF(r *reach.File, e *rootfs.ELF) {
	system := e.GoSettings["GOOS"]
	if system == "" {
		system = e.OS
	}
	if system != "" && system != j.platform.OS {
		if r.OnPath && j.found.rules.user(r.Path) {
			return
		}
		j.reached(r, Error, "foreign-format", "%s is a program for %s, the image is for %s", r.What, system, j.platform.OS)
		return
	}
	want := j.platform.Architecture
	got := e.Architecture()
	switch {
	case got == want:
		j.level(r, e)
		j.pageSize(r, e)
	case want == "amd64" && (got == "386" || got == "amd64p32") && (r.Way == reach.Library || r.Way == reach.Loader || r.OnPath):
	case want == "amd64" && got == "386":
		severity := Warning // such kernels run it, unless they were told not to
		if j.own == 0 {
			severity = Error
		}
		j.reached(r, severity, "elf-architecture", "%s is for %s, the image for %s", r.What, e.MachineName(), j.node.Platform)
	case r.OnPath && (got == "" || e.Micro || emulator(r.Path) || j.found.rules.user(r.Path)):
		j.allowedFiles++
	case (r.OnPath || !r.Sure) && j.relativesOf(r.Path).own:
		j.allowedFiles++
	case r.Way == reach.Preloaded && !j.musl():
		// glibc's loader says so and goes on without.
		j.reached(r, Warning, "elf-architecture", "%s is for %s, the image for %s", r.What, e.MachineName(), j.node.Platform)
	default:
		j.reached(r, Error, "elf-architecture", "%s is for %s, the image for %s", r.What, e.MachineName(), j.node.Platform)
	}
}

// musl reports whether the image's own program runs with musl.
func (j *judgment) musl() bool {
	return j.main != nil && j.main.ELF != nil && rootfs.LibC(j.main.ELF.Interp) == "musl"
}

// emulator reports whether a file is named as QEMU's user emulators are, which
// lie in images of other architectures for the machine that builds them.
func emulator(name string) bool {
	rest, ok := strings.CutPrefix(path.Base(name), "qemu-")
	if !ok {
		return false
	}
	rest = strings.TrimSuffix(rest, "-static")
	switch rest {
	case "aarch64_be", "armeb", "hppa", "m68k", "microblaze", "mipsn32", "mipsn32el", "or1k", "sh4", "sh4eb", "xtensa", "xtensaeb", "cris", "nios2", "hexagon", "alpha", "sparc32plus":
		return true
	}
	named := namedPlatform(rest)
	return len(named.archs) > 0 && named.stem == ""
}

// reached adds a finding about a file that is reached, with the way to it.
func (j *judgment) reached(r *reach.File, severity Severity, id, format string, args ...any) {
	f := j.finding(severity, id, r.Path, r.Inode, format, args...)
	f.Chain = r.Chain
	j.found.add(f)
}
