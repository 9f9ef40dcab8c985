package rootfs

import (
	"debug/elf"
	"fmt"
	"strconv"
	"strings"
)

// Architecture is the name Go and OCI have for what an ELF file runs on, or
// "" for what no container platform is named after.
func (e *ELF) Architecture() string {
	bit64 := e.Bits == 64
	endian := func(little, big string) string {
		if e.Big {
			return big
		}
		return little
	}
	switch e.Machine {
	case elf.EM_386:
		if !bit64 && !e.Big {
			return "386"
		}
	case elf.EM_X86_64:
		if bit64 && !e.Big {
			return "amd64"
		}
		return "amd64p32"
	case elf.EM_ARM:
		if !bit64 {
			return endian("arm", "armbe")
		}
	case elf.EM_AARCH64:
		if bit64 {
			return endian("arm64", "arm64be")
		}
		return "arm64p32"
	case elf.EM_RISCV:
		if bit64 {
			return "riscv64"
		}
		return "riscv"
	case elf.EM_PPC64:
		return endian("ppc64le", "ppc64")
	case elf.EM_PPC:
		return endian("ppcle", "ppc")
	case elf.EM_S390:
		if bit64 {
			return "s390x"
		}
		return "s390"
	case elf.EM_MIPS:
		switch {
		case bit64:
			return endian("mips64le", "mips64")
		case e.Flags&efMIPSABI2 != 0:
			return endian("mips64p32le", "mips64p32")
		}
		return endian("mipsle", "mips")
	case elf.EM_LOONGARCH:
		if bit64 {
			return "loong64"
		}
	case elf.EM_SPARCV9:
		return "sparc64"
	}
	return ""
}

// MachineName names the machine even where no platform is.
func (e *ELF) MachineName() string {
	if arch := e.Architecture(); arch != "" {
		return arch
	}
	name := strings.TrimPrefix(e.Machine.String(), "EM_")
	return fmt.Sprintf("%s %d-bit", name, e.Bits)
}

// String says what the file is: "ELF arm, EABI5, v6, static, Go 1.26".
func (e *ELF) String() string {
	parts := []string{"ELF " + e.MachineName()}
	if e.Machine == elf.EM_ARM {
		if abi := e.Flags >> 24; abi != 0 {
			parts = append(parts, fmt.Sprintf("EABI%d", abi))
		}
	}
	if v := e.ARMLevel(); v != 0 {
		parts = append(parts, fmt.Sprintf("v%d", v))
	}
	if level := e.AMD64Level(); level > 1 {
		parts = append(parts, fmt.Sprintf("x86-64-v%d", level))
	}
	switch {
	case e.Type == elf.ET_REL:
		parts = append(parts, "object file")
	case e.Partial != "":
	case e.Interp != "":
		parts = append(parts, LibC(e.Interp))
	case e.Type == elf.ET_DYN && len(e.Needed) > 0:
		parts = append(parts, "library")
	default:
		parts = append(parts, "static")
	}
	if e.Go != "" {
		parts = append(parts, "Go "+strings.TrimPrefix(e.Go, "go"))
	}
	return strings.Join(parts, ", ")
}

func LibC(interp string) string {
	switch {
	case strings.Contains(interp, "ld-musl"):
		return "musl"
	case strings.Contains(interp, "ld-linux"), strings.Contains(interp, "/ld64.so"), strings.Contains(interp, "/ld.so"):
		return "glibc"
	}
	return "dynamic"
}

// ARMLevel is the variant of 32-bit ARM that the file needs, or 0 where it
// does not say.
func (e *ELF) ARMLevel() int {
	if e.Architecture() != "arm" {
		return 0
	}
	level := e.ARM
	// GOARM=7 or GOARM=7,softfloat
	goarm, _, _ := strings.Cut(e.GoSettings["GOARM"], ",")
	if n, err := strconv.Atoi(goarm); err == nil {
		level = max(level, n)
	}
	return level
}

// AMD64Level is the x86-64 level that the file needs, or 0 where it does not
// say.
func (e *ELF) AMD64Level() int {
	if e.Architecture() != "amd64" {
		return 0
	}
	level := e.X86
	if n, err := strconv.Atoi(strings.TrimPrefix(e.GoSettings["GOAMD64"], "v")); err == nil {
		level = max(level, n)
	}
	return level
}
