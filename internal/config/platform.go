package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// architectures are those that Go knows for each operating system (`go tool dist
// list`), and the few more that BuildKit builds for.
var architectures = map[string][]string{
	"linux":     {"amd64", "arm64", "arm", "386", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x"},
	"windows":   {"amd64", "arm64", "arm", "386"},
	"freebsd":   {"amd64", "arm64", "arm", "386", "riscv64"},
	"netbsd":    {"amd64", "arm64", "arm", "386"},
	"openbsd":   {"amd64", "arm64", "arm", "386", "mips64", "ppc64", "riscv64"},
	"dragonfly": {"amd64"},
	"darwin":    {"amd64", "arm64", "386", "arm"},
	"ios":       {"amd64", "arm64"},
	"android":   {"amd64", "arm64", "arm", "386"},
	"solaris":   {"amd64"},
	"illumos":   {"amd64"},
	"aix":       {"ppc64"},
	"plan9":     {"amd64", "arm", "386"},
	"js":        {"wasm"},
	"wasi":      {"wasm", "wasm32"},
	"wasip1":    {"wasm"},
}

// variants of those architectures that have any. The OCI image specification
// lists them: https://github.com/opencontainers/image-spec/blob/main/image-index.md#platform-variants
// Those of MIPS and 386 are Go's.
var variants = map[string][]string{
	"arm":      {"v5", "v6", "v7", "v8"},
	"arm64":    {"v8", "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9", "v9", "v9.0", "v9.1", "v9.2", "v9.3", "v9.4", "v9.5"},
	"amd64":    {"v1", "v2", "v3", "v4"},
	"386":      {"sse2", "softfloat"},
	"mips":     {"hardfloat", "softfloat"},
	"mipsle":   {"hardfloat", "softfloat"},
	"mips64":   {"hardfloat", "softfloat"},
	"mips64le": {"hardfloat", "softfloat"},
	"ppc64":    {"power8", "power9", "power10"},
	"ppc64le":  {"power8", "power9", "power10"},
	"riscv64":  {"rva20u64", "rva22u64", "rva23u64"},
}

// ParsePlatform reads os/arch[/variant] and normalises it as containerd does:
// linux/arm is linux/arm/v7, linux/arm64/v8 is linux/arm64, linux/x86_64 is
// linux/amd64. "local" is this machine's architecture under Linux.
func ParsePlatform(s string) (ocispecs.Platform, error) {
	if s == "local" {
		p := platforms.DefaultSpec()
		p.OS, p.OSVersion, p.OSFeatures = "linux", "", nil
		return platforms.Normalize(p), nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return ocispecs.Platform{}, fmt.Errorf("%q is not of the form os/arch or os/arch/variant%s", s, suggestPlatform(s))
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return ocispecs.Platform{}, fmt.Errorf("%q is no platform%s", s, suggestPlatform(s))
	}
	p = platforms.Normalize(p)
	archs, ok := architectures[p.OS]
	if !ok || !slices.Contains(archs, p.Architecture) {
		return ocispecs.Platform{}, fmt.Errorf("%q is no platform that images are built for%s", s, suggestPlatform(s))
	}
	if p.Variant != "" && !slices.Contains(variants[p.Architecture], p.Variant) {
		known := "none"
		if v := variants[p.Architecture]; len(v) > 0 {
			known = strings.Join(v, ", ")
		}
		return ocispecs.Platform{}, fmt.Errorf("%q has an unknown variant; %s has: %s", s, p.Architecture, known)
	}
	return p, nil
}

// FormatPlatform gives os/arch[/variant] without operating system versions.
func FormatPlatform(p ocispecs.Platform) string {
	return oci.FormatPlatform(p)
}

// suggestPlatform names the platform that was probably meant.
func suggestPlatform(s string) string {
	aliases := map[string]string{
		"armv5": "linux/arm/v5", "armv6": "linux/arm/v6", "armv6l": "linux/arm/v6", "armel": "linux/arm/v6",
		"armv7": "linux/arm/v7", "armv7l": "linux/arm/v7", "armhf": "linux/arm/v7",
		"arm64": "linux/arm64", "aarch64": "linux/arm64", "armv8": "linux/arm64", "arm64v8": "linux/arm64",
		"amd64": "linux/amd64", "x86_64": "linux/amd64", "x64": "linux/amd64", "x86-64": "linux/amd64",
		"i386": "linux/386", "x86": "linux/386", "riscv": "linux/riscv64", "riscv64": "linux/riscv64",
	}
	low := strings.ToLower(s)
	if a, ok := aliases[low[strings.LastIndex(low, "/")+1:]]; ok && a != low {
		return fmt.Sprintf("; did you mean %q?", a)
	}
	var all []string
	for os, archs := range architectures {
		for _, a := range archs {
			all = append(all, os+"/"+a)
			for _, v := range variants[a] {
				all = append(all, os+"/"+a+"/"+v)
			}
		}
	}
	slices.Sort(all)
	if near := nearest(low, all); near != "" && near != s {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; write for example linux/amd64, linux/arm64, linux/arm/v7 or linux/arm/v6"
}
