package worker

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// Runs says whether the worker can execute programs of a platform, natively or
// through an emulator, by executing one. It is asked of a platform that the
// worker is not of; for an architecture that no probe exists for, the worker's
// own word counts.
func (w *Worker) Runs(ctx context.Context, p ocispecs.Platform) (bool, error) {
	program, ok := exitProgram(p.Architecture)
	if !ok {
		return contains(w.Platforms, p), nil
	}
	state := llb.Scratch().
		File(llb.Mkfile("/probe", 0o755, program), llb.WithCustomName("[probe] "+config.FormatPlatform(p))).
		Run(llb.Args([]string{"/probe"}), llb.IgnoreCache, llb.WithCustomName("[probe] run a "+config.FormatPlatform(p)+" program")).
		Root()
	def, err := state.Marshal(ctx, llb.Platform(p))
	if err != nil {
		return false, fmt.Errorf("making a probe for %s: %w", config.FormatPlatform(p), err)
	}
	_, err = w.Client.Solve(ctx, def, client.SolveOpt{}, discardStatus())
	var exit *gatewaypb.ExitError
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.As(err, &exit):
		return false, nil
	}
	return false, &Lost{Worker: w.Name, Err: reason(err)}
}

// code is exit(0) for Linux in an architecture's machine language.
type code struct {
	machine elf.Machine
	order   binary.ByteOrder
	bits    int
	text    []byte
}

var exits = map[string]code{
	// xor edi, edi; mov eax, 60; syscall
	"amd64": {elf.EM_X86_64, binary.LittleEndian, 64, []byte{0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05}},
	// xor ebx, ebx; mov eax, 1; int 0x80
	"386": {elf.EM_386, binary.LittleEndian, 32, []byte{0x31, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80}},
	// mov x0, 0; mov x8, 93; svc 0
	"arm64": {elf.EM_AARCH64, binary.LittleEndian, 64, words(binary.LittleEndian, 0xd2800000, 0xd2800ba8, 0xd4000001)},
	// mov r7, 1; mov r0, 0; svc 0
	"arm": {elf.EM_ARM, binary.LittleEndian, 32, words(binary.LittleEndian, 0xe3a07001, 0xe3a00000, 0xef000000)},
	// li a0, 0; li a7, 93; ecall
	"riscv64": {elf.EM_RISCV, binary.LittleEndian, 64, words(binary.LittleEndian, 0x00000513, 0x05d00893, 0x00000073)},
	// li r0, 1; li r3, 0; sc
	"ppc64le": {elf.EM_PPC64, binary.LittleEndian, 64, words(binary.LittleEndian, 0x38000001, 0x38600000, 0x44000002)},
	// lghi %r2, 0; svc 1
	"s390x": {elf.EM_S390, binary.BigEndian, 64, []byte{0xa7, 0x29, 0, 0, 0x0a, 1}},
}

func words(order binary.ByteOrder, ws ...uint32) []byte {
	var out []byte
	for _, w := range ws {
		b := make([]byte, 4)
		order.PutUint32(b, w)
		out = append(out, b...)
	}
	return out
}

// exitProgram is the smallest program of an architecture: an ELF file whose
// only segment exits with 0.
func exitProgram(arch string) ([]byte, bool) {
	c, ok := exits[arch]
	if !ok {
		return nil, false
	}
	const base = 0x10000
	var flags uint32
	switch arch {
	case "arm":
		flags = 0x05000000 // EABI version 5
	case "ppc64le":
		flags = 2 // ELFv2
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', 0, byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	if c.order == binary.BigEndian {
		ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	var out bytes.Buffer
	put := func(v any) { _ = binary.Write(&out, c.order, v) } // a Buffer takes everything
	if c.bits == 32 {
		ident[elf.EI_CLASS] = byte(elf.ELFCLASS32)
		size := uint32(52 + 32 + len(c.text))
		put(elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(c.machine), Version: 1, Entry: base + 84, Phoff: 52, Flags: flags, Ehsize: 52, Phentsize: 32, Phnum: 1})
		put(elf.Prog32{Type: uint32(elf.PT_LOAD), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Flags: uint32(elf.PF_R | elf.PF_X), Align: base})
	} else {
		ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
		size := uint64(64 + 56 + len(c.text))
		put(elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(c.machine), Version: 1, Entry: base + 120, Phoff: 64, Flags: flags, Ehsize: 64, Phentsize: 56, Phnum: 1})
		put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: base})
	}
	out.Write(c.text)
	return out.Bytes(), true
}
