package device

import (
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// nativePlatforms are what a processor runs by itself, the widest first, from
// what the kernel calls the machine (uname -m) and the processor's features
// (/proc/cpuinfo). compat32 says that a 64-bit kernel takes 32-bit programs
// (the linux32 personality, which arm64 kernels refuse where the processor
// has no AArch32).
func nativePlatforms(machine, features string, compat32 bool) []ocispecs.Platform {
	has := func(names ...string) bool {
		return slices.ContainsFunc(strings.Fields(features), func(f string) bool { return slices.Contains(names, f) })
	}
	linux := func(names ...string) []ocispecs.Platform {
		var out []ocispecs.Platform
		for _, n := range names {
			if p, err := config.ParsePlatform("linux/" + n); err == nil {
				out = append(out, p)
			}
		}
		return out
	}
	arm32 := []string{"arm/v7", "arm/v6", "arm/v5"}
	switch {
	case machine == "x86_64", machine == "amd64":
		return linux("amd64", "386")
	case len(machine) == 4 && machine[0] == 'i' && strings.HasSuffix(machine, "86"):
		return linux("386")
	case machine == "aarch64", machine == "arm64":
		out := linux("arm64")
		if compat32 {
			out = append(out, linux(append([]string{"arm/v8"}, arm32...)...)...)
		}
		return out
	case strings.HasPrefix(machine, "armv8"):
		return linux(append([]string{"arm/v8"}, arm32...)...)
	case strings.HasPrefix(machine, "armv7"):
		// v7 images are built for VFPv3, which few v7 processors lack.
		if !has("swp", "half", "thumb", "edsp") || has("vfpv3", "vfpv3d16", "vfpd32", "vfpv4", "neon") {
			return linux(arm32...)
		}
		return linux(arm32[1:]...)
	case strings.HasPrefix(machine, "armv6"):
		return linux(arm32[1:]...)
	case strings.HasPrefix(machine, "armv5"):
		return linux(arm32[2:]...)
	case machine == "loongarch64":
		return linux("loong64")
	}
	return linux(machine)
}

// preferred is the native platform of the runtime's own architecture: a 32-bit
// userland on a 64-bit kernel, as Raspberry Pi OS has it, takes 32-bit images.
func preferred(native []ocispecs.Platform, runtimeArch string) ocispecs.Platform {
	if strings.HasPrefix(runtimeArch, "arm") && runtimeArch != "arm64" {
		for _, p := range native {
			if p.Architecture == "arm" && p.Variant != "v8" {
				return p
			}
		}
	}
	return native[0]
}

// runnable leaves out what a 32-bit runtime on a 64-bit kernel does not promise
// to run: its containers may be kept from the calls of the other. What the device
// is declared to run stays.
func runnable(native []ocispecs.Platform, runtimeArch string, declared *ocispecs.Platform) []ocispecs.Platform {
	wide := ""
	switch {
	case strings.HasPrefix(runtimeArch, "arm") && runtimeArch != "arm64":
		wide = "arm64"
	case runtimeArch == "386":
		wide = "amd64"
	}
	return slices.DeleteFunc(native, func(p ocispecs.Platform) bool {
		return p.Architecture == wide && (declared == nil || declared.Architecture != wide) && len(native) > 1
	})
}
