package audit

import (
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

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
