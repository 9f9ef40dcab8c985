package reach

// machine is what an architecture is called elsewhere: by uname -m, by Debian,
// by Alpine, by the directories of its libraries, and by musl.
// https://wiki.debian.org/Multiarch/Tuples, https://wiki.musl-libc.org
type machine struct{ uname, debian, alpine, triplet, musl string }

var machines = map[string]machine{
	"386":      {"i686", "i386", "x86", "i386-linux-gnu", "i386"},
	"amd64":    {"x86_64", "amd64", "x86_64", "x86_64-linux-gnu", "x86_64"},
	"arm":      {"armv7l", "armhf", "armv7", "arm-linux-gnueabihf", "armhf"},
	"arm64":    {"aarch64", "arm64", "aarch64", "aarch64-linux-gnu", "aarch64"},
	"loong64":  {"loongarch64", "loong64", "loongarch64", "loongarch64-linux-gnu", "loongarch64"},
	"mips":     {"mips", "mips", "mips", "mips-linux-gnu", "mips"},
	"mipsle":   {"mips", "mipsel", "mipsel", "mipsel-linux-gnu", "mipsel"},
	"mips64":   {"mips64", "mips64", "mips64", "mips64-linux-gnuabi64", "mips64"},
	"mips64le": {"mips64", "mips64el", "mips64el", "mips64el-linux-gnuabi64", "mips64el"},
	"ppc64":    {"ppc64", "ppc64", "ppc64", "powerpc64-linux-gnu", "powerpc64"},
	"ppc64le":  {"ppc64le", "ppc64el", "ppc64le", "powerpc64le-linux-gnu", "powerpc64le"},
	"riscv64":  {"riscv64", "riscv64", "riscv64", "riscv64-linux-gnu", "riscv64"},
	"s390x":    {"s390x", "s390x", "s390x", "s390x-linux-gnu", "s390x"},
}

func (g *graph) unameMachine() string {
	p := g.image.Platform
	if p.Architecture == "arm" {
		switch p.Variant {
		case "v5":
			return "armv5tel"
		case "v6":
			return "armv6l"
		}
	}
	return machines[p.Architecture].uname
}

func (g *graph) debianArchitecture() string {
	p := g.image.Platform
	if p.Architecture == "arm" && (p.Variant == "v5" || p.Variant == "v6") {
		return "armel"
	}
	return machines[p.Architecture].debian
}

func (g *graph) alpineArchitecture() string {
	p := g.image.Platform
	if p.Architecture == "arm" && p.Variant == "v6" {
		return "armhf"
	}
	return machines[p.Architecture].alpine
}

// bits64 reports whether libraries of an architecture lie in lib64 as well.
func bits64(arch string) bool {
	switch arch {
	case "amd64", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x":
		return true
	}
	return false
}
