package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// variants are those that clients ask for.
// https://github.com/opencontainers/image-spec/blob/main/image-index.md#platform-variants
var variants = map[string][]string{
	"amd64":   {"v1", "v2", "v3", "v4"},
	"arm":     {"v5", "v6", "v7", "v8"},
	"arm64":   {"v8", "v8.0", "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9", "v9", "v9.0", "v9.1", "v9.2", "v9.3", "v9.4", "v9.5"},
	"riscv64": {"rva20u64", "rva22u64", "rva23u64"},
	"ppc64le": {"power8", "power9", "power10"},
}

// architectures and systems are those of Go, which OCI refers to.
var (
	architectures = []string{
		"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm",
		"ppc", "riscv", "sparc64", "s390", "amd64p32", "armbe", "arm64be", "mips64p32", "mips64p32le", "sparc",
	}
	systems = []string{"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "wasi", "windows"}
)

// judgePlatforms compares what the index claims with the configs, with itself
// and with what was meant.
func (a *auditor) judgePlatforms() {
	inIndex := a.tree.Kind == KindIndex
	first := map[string]*Node{}
	for _, n := range a.tree.Images() {
		if inIndex && (n.Stated == nil || n.Stated.OS == "" || n.Stated.Architecture == "" || n.Stated.OS == "unknown") && n.Problem == "" {
			a.found.add(about(n, "platform-unnamed", "the index states no platform for the image %s", n.Digest))
		} else {
			a.judgeNames(n)
		}
		a.judgeConfigPlatform(n)
		if n.Platform == "" {
			continue
		}
		key := n.Platform + " " + n.OSVersion + " " + strings.Join(n.OSFeatures, ",")
		if other, ok := first[key]; ok {
			f := about(n, "platform-duplicate", "%s is in the index twice: %s and %s", n.Platform, short(other.Digest), short(n.Digest))
			if other.Digest == n.Digest {
				f.Severity = Warning // whichever is taken, it is the same
			}
			a.found.add(f)
			continue
		}
		first[key] = n
	}
	a.judgeMatrix()
}

// judgeNames finds names that no client asks for.
func (a *auditor) judgeNames(n *Node) {
	p := n.Stated
	if p == nil {
		if n.Config == nil || n.Config.OS == "" {
			return
		}
		p = &ocispecs.Platform{OS: n.Config.OS, Architecture: n.Config.Architecture, Variant: n.Config.Variant}
	}
	normal := platforms.Normalize(*p)
	switch known, limited := variants[normal.Architecture]; {
	case !slices.Contains(systems, normal.OS):
		a.found.add(about(n, "platform-unknown", "%q is no operating system that a client asks for", p.OS))
	case !slices.Contains(architectures, normal.Architecture):
		a.found.add(about(n, "platform-unknown", "%q is no architecture that a client asks for", p.Architecture))
	case normal.Variant == "":
	case limited && !slices.Contains(known, normal.Variant):
		a.found.add(about(n, "platform-unknown", "%q is no variant of %s; there are %s", p.Variant, normal.Architecture, strings.Join(known, ", ")))
	case !limited:
		// Clients compare variants as they are written.
		a.found.add(about(n, "platform-unknown", "%s has no variants, and this one states %q", normal.Architecture, p.Variant))
	}
	if p.Architecture == "arm" && p.Variant == "" {
		a.found.add(about(n, "variant-unstated", "it is entered as %s/arm, which clients take for v7", p.OS))
	}
}

// judgeConfigPlatform compares the descriptor with the image's own config,
// which is what a runtime believes.
func (a *auditor) judgeConfigPlatform(n *Node) {
	c := n.Config
	if c == nil {
		return
	}
	if c.OS == "" || c.Architecture == "" {
		if n.Stated != nil {
			a.found.add(about(n, "platform-mismatch", "its config states no platform"))
		} else {
			a.found.add(about(n, "platform-unnamed", "its config states no platform"))
		}
		return
	}
	if n.Stated == nil || n.Stated.OS == "" {
		return
	}
	stated := platforms.Normalize(*n.Stated)
	own := platforms.Normalize(ocispecs.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant})
	f := about(n, "platform-mismatch", "the index enters it as %s, its config says %s", platforms.Format(stated), platforms.Format(own))
	f.Evidence = []string{"config " + c.Digest.String()}
	switch {
	case stated.OS != own.OS || stated.Architecture != own.Architecture:
		a.found.add(f)
	case stated.Variant != own.Variant:
		if c.Variant == "" {
			// Older builders leave it out of the config.
			f.Severity = Warning
			f.Message = fmt.Sprintf("the index enters it as %s, its config states no variant", platforms.Format(stated))
		}
		a.found.add(f)
	case n.OSVersion != "" && c.OSVersion != "" && n.OSVersion != c.OSVersion:
		f.Message = fmt.Sprintf("the index states os.version %s, its config %s", n.OSVersion, c.OSVersion)
		f.Severity = Warning
		a.found.add(f)
	}
}

// judgeMatrix compares the platforms with those that were meant.
func (a *auditor) judgeMatrix() {
	w := a.options.Want
	if w == nil || len(w.Platforms)+len(w.Optional) == 0 {
		return
	}
	var have []string
	for _, n := range a.tree.Images() {
		have = append(have, n.Platform)
		if !slices.Contains(w.Platforms, n.Platform) && !slices.Contains(w.Optional, n.Platform) {
			a.found.add(about(n, "platform-extra", "%s is not in targets.hcl", n.Platform))
		}
	}
	for _, p := range w.Platforms {
		if !slices.Contains(have, p) {
			f := about(&a.tree.Node, "platform-missing", "%s is missing; there are %s", p, strings.Join(have, ", "))
			f.Platform = p
			a.found.add(f)
		}
	}
	for _, p := range w.Optional {
		if !slices.Contains(have, p) {
			f := about(&a.tree.Node, "platform-missing", "%s, which is optional, is missing", p)
			f.Platform, f.Severity = p, Note
			a.found.add(f)
		}
	}
}
