package audit

import (
	"strconv"
	"strings"

	"github.com/archmage-build/archmage/internal/reach"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// level judges what a file of the right architecture needs of the CPU, by what
// it declares. A declaration that the file itself or its loader enforces counts
// wherever it is found by name; what a compiler was told may be of a part that
// is chosen at run time.
func (j *judgment) level(r *reach.File, e *rootfs.ELF) {
	told := Error
	switch {
	case r.Way == reach.Library:
		told = Note // as libatomic of Debian's armel does
	case r.OnPath:
		told = Warning
	}
	if e.Micro {
		j.reached(r, told, "elf-variant", "%s is for ARM microcontrollers", r.What)
		return
	}
	if need, have := e.ARMLevel(), variantNumber(j.platform.Variant, 7); need > have {
		severity := told
		if e.GoSettings["GOARM"] != "" && e.ARM < need {
			severity = Error
		}
		j.reached(r, severity, "elf-variant", "%s is code for ARMv%d, the image is for %s", r.What, need, j.node.Platform)
	}
	if need, have := e.AMD64Level(), variantNumber(j.platform.Variant, 1); need > have {
		severity := Error
		if need < 3 {
			severity = Warning // what every machine of the last fifteen years has
		}
		j.reached(r, severity, "elf-level", "%s needs x86-64-v%d, the image is for %s", r.What, need, j.node.Platform)
	}
	if need, have := e.Bare, variantNumber(j.platform.Variant, 1); need != nil && need.Level > have && e.Architecture() == "amd64" && e.AMD64Level() <= have {
		severity := Error
		if r.OnPath {
			severity = Warning // whether it is run is not known
		}
		f := j.finding(severity, "cpu-level", r.Path, r.Inode, "%s uses instructions of x86-64-v%d without asking the CPU, the image is for %s: an older CPU ends it with SIGILL", r.What, need.Level, j.node.Platform)
		f.Evidence = append(f.Evidence, need.Where)
		f.Chain = r.Chain
		j.found.add(f)
	}
	if e.Architecture() == "arm64" {
		need, _, _ := strings.Cut(e.GoSettings["GOARM64"], ",")
		have := j.platform.Variant
		if have == "" {
			have = "v8.0"
		}
		switch {
		case newer(need, have):
			j.reached(r, Error, "elf-level", "%s needs ARM%s, the image is for %s", r.What, need, j.node.Platform)
		case e.Atomics != "" && newer("v8.1", have):
			severity := Error
			if r.OnPath || r.Way == reach.Library {
				severity = Warning // whether it is run is not known
			}
			f := j.finding(severity, "cpu-level", r.Path, r.Inode, "%s uses atomic instructions of ARMv8.1 without asking the CPU, the image is for %s: a Cortex-A53 or A72 ends it with SIGILL", r.What, j.node.Platform)
			f.Evidence = append(f.Evidence, e.Atomics)
			f.Chain = r.Chain
			j.found.add(f)
		}
	}
	for _, setting := range []struct{ arch, key, base string }{{"ppc64le", "GOPPC64", "power8"}, {"riscv64", "GORISCV64", "rva20u64"}} {
		need := e.GoSettings[setting.key]
		if e.Architecture() == setting.arch && need != "" && need != setting.base && need != j.platform.Variant {
			severity := Error
			if r.OnPath {
				severity = Warning
			}
			j.reached(r, severity, "elf-level", "%s needs %s, the image is for %s", r.What, need, j.node.Platform)
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

// pages are the page sizes in bytes that kernels of an architecture are
// commonly built with, and which binaries must therefore fit: a Raspberry Pi 5
// and Asahi Linux have 16 KiB, ppc64le distributions 64, loong64 16.
var pages = map[string]uint64{"arm64": 16 << 10, "ppc64le": 64 << 10, "loong64": 16 << 10}

// pageSize judges whether a file can be mapped by the platform's kernels.
func (j *judgment) pageSize(r *reach.File, e *rootfs.ELF) {
	want, stated := j.pageSizes[j.node.Platform], true
	if want == 0 {
		want, stated = pages[j.platform.Architecture], false
	}
	if e.PageSize == 0 || want == 0 || e.PageSize >= want {
		return
	}
	severity := Error
	if r.OnPath && !stated {
		severity = Warning
	}
	f := j.finding(severity, "page-size", r.Path, r.Inode, "%s is laid out for pages of %d KiB, and kernels of %s have pages of %d KiB: it does not start there", r.What, e.PageSize>>10, j.node.Platform, want>>10)
	f.Chain = r.Chain
	j.found.add(f)
}
