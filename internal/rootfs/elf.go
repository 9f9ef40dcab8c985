package rootfs

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ELF is what matters of an ELF file.
type ELF struct {
	Bits    int // 32 or 64; 0 for a class that does not exist
	Big     bool
	Machine elf.Machine
	Type    elf.Type
	Flags   uint32
	// Interp is the dynamic loader that the kernel is to start it with.
	Interp string
	// Needed are the names of libraries; RPath and RunPath the colon-separated
	// directories they are sought in, before and after LD_LIBRARY_PATH.
	Needed         []string
	RPath, RunPath string
	// SoName is what a library calls itself.
	SoName  string
	Dynamic bool
	// Wants are the symbol versions that other libraries must define, Defines
	// those that this one does.
	Wants   []Version
	Defines []string
	// PageSize is the largest page, 4 to 64 KiB, with which its segments can
	// be mapped; 0 where it has none.
	PageSize uint64
	// Atomics is an instruction of ARMv8.1 that nothing guards, "" if none was
	// found: "CASAL at 0x4005d0 in bump".
	Atomics string
	// Bare is an instruction above the x86-64 baseline that nothing guards, nil
	// if none was found.
	Bare *BareCode
	// OS is the system that the header or a note names, as Go does; "" for
	// Linux and for what names none.
	OS string
	// ARM is the version of the architecture that .ARM.attributes state, 5 to
	// 9, or 0 where they do not. Micro says that it is one of
	// microcontrollers, which no container runs on.
	ARM   int
	Micro bool
	// X86 is the x86-64 micro-architecture level that the file says it needs,
	// 1 to 4, or 0.
	X86 int
	// Go is the version of the Go toolchain, "go1.26", and GoSettings GOARM,
	// GOAMD64 and the like that it was built with.
	Go         string
	GoSettings map[string]string
	// Partial says why only the header was read.
	Partial string
}

// Version is a version of symbols that a file needs of a library.
type Version struct {
	Library, Name string
	// Symbol is one that is needed in that version, if it could be told.
	Symbol string
	// Weak reports whether the file does without.
	Weak bool
}

// Bounds of what is read of one ELF file, whatever its headers state.
const (
	maxProgs      = 512
	maxSections   = 20_000
	maxTable      = 8 << 20 // one table of strings or headers
	maxNeeded     = 1024
	maxVersions   = 4096
	maxName       = 4096
	maxAttributes = 64 << 10
)

// Values that debug/elf does not name.
const (
	ptGNUProperty    = 0x6474e553 // https://sourceware.org/git/?p=glibc.git;f=elf/elf.h
	shtARMAttributes = 0x70000003 // https://github.com/ARM-software/abi-aa/blob/main/addenda32/addenda32.rst
	efMIPSABI2       = 0x20       // the n32 ABI
)

var errNoELF = errors.New("it is no ELF file")

// prog and section are the headers of both classes in one form.
type prog struct {
	typ, flags       uint32
	off, vaddr, size uint64 // size in the file
	memory, align    uint64
}

type section struct {
	name, typ, link        uint32
	flags, addr, off, size uint64
}

// readELF reads a file of size bytes. It returns what can be told even if only
// the header is sound, with Partial set then.
func readELF(r io.ReaderAt, size int64) (*ELF, error) {
	var ident [elf.EI_NIDENT]byte
	if _, err := r.ReadAt(ident[:], 0); err != nil || string(ident[:4]) != elf.ELFMAG {
		return nil, errNoELF
	}
	f := &elfFile{r: r, size: size, order: binary.LittleEndian, info: &ELF{}}
	f.info.OS = systemOfABI[elf.OSABI(ident[elf.EI_OSABI])]
	if elf.Data(ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		f.order, f.info.Big = binary.BigEndian, true
	}
	if err := f.header(elf.Class(ident[elf.EI_CLASS])); err != nil {
		return nil, err
	}
	if f.info.Type != elf.ET_EXEC && f.info.Type != elf.ET_DYN {
		return f.info, nil
	}
	if err := f.details(); err != nil {
		f.info.Partial = err.Error()
	}
	return f.info, nil
}

// systemOfABI are the systems that mark their programs in the header.
var systemOfABI = map[elf.OSABI]string{elf.ELFOSABI_FREEBSD: "freebsd", elf.ELFOSABI_OPENBSD: "openbsd", elf.ELFOSABI_NETBSD: "netbsd", elf.ELFOSABI_SOLARIS: "solaris"}

type elfFile struct {
	r     io.ReaderAt
	size  int64
	order binary.ByteOrder
	info  *ELF

	phoff, shoff, entry       uint64
	phentsize, phnum          int
	shentsize, shnum, strtabs int
	progs                     []prog
	sections                  []section
	names                     []byte
	pie                       bool
}

func (f *elfFile) header(class elf.Class) error {
	switch class {
	case elf.ELFCLASS32:
		var h elf.Header32
		if err := f.read(0, &h); err != nil {
			return errNoELF
		}
		f.info.Bits, f.info.Machine, f.info.Type, f.info.Flags = 32, elf.Machine(h.Machine), elf.Type(h.Type), h.Flags
		f.entry = uint64(h.Entry)
		f.phoff, f.phentsize, f.phnum = uint64(h.Phoff), int(h.Phentsize), int(h.Phnum)
		f.shoff, f.shentsize, f.shnum, f.strtabs = uint64(h.Shoff), int(h.Shentsize), int(h.Shnum), int(h.Shstrndx)
	case elf.ELFCLASS64:
		var h elf.Header64
		if err := f.read(0, &h); err != nil {
			return errNoELF
		}
		f.info.Bits, f.info.Machine, f.info.Type, f.info.Flags = 64, elf.Machine(h.Machine), elf.Type(h.Type), h.Flags
		f.entry = h.Entry
		f.phoff, f.phentsize, f.phnum = h.Phoff, int(h.Phentsize), int(h.Phnum)
		f.shoff, f.shentsize, f.shnum, f.strtabs = h.Shoff, int(h.Shentsize), int(h.Shnum), int(h.Shstrndx)
	default:
		return errNoELF
	}
	return nil
}

func (f *elfFile) details() error {
	if err := f.readProgs(); err != nil {
		return err
	}
	f.info.PageSize = f.pageSize()
	var dynamic *prog
	for _, p := range f.progs {
		switch elf.ProgType(p.typ) {
		case elf.PT_INTERP:
			f.info.Interp, _ = f.cstring(p.off, p.size)
		case elf.PT_DYNAMIC:
			f.info.Dynamic = true
			dynamic = &p
		case elf.PT_NOTE, ptGNUProperty:
			f.notes(p)
		}
	}
	if err := f.readSections(); err != nil {
		return err
	}
	if dynamic != nil {
		f.dynamic(*dynamic)
	}
	goBuilt := false
	for _, s := range f.sections {
		if s.typ == shtARMAttributes && f.info.Machine == elf.EM_ARM {
			if raw, err := f.bytes(s.off, min(s.size, maxAttributes)); err == nil {
				f.info.ARM, f.info.Micro = armArchitecture(raw, f.order)
			}
		}
		goBuilt = goBuilt || f.sectionName(s) == ".go.buildinfo"
	}
	if f.info.Machine == elf.EM_AARCH64 && f.info.Bits == 64 && !f.info.Big {
		f.info.Atomics = f.bareAtomics()
	}
	// The reader of build information looks through the data itself where
	// there are no sections.
	if goBuilt || len(f.sections) == 0 {
		f.goBuild()
	}
	if f.info.Machine == elf.EM_X86_64 && f.info.Bits == 64 && f.info.Go == "" {
		f.info.Bare = f.bareX86() // Go asks, unless GOAMD64 says otherwise
	}
	return nil
}

func (f *elfFile) readProgs() error {
	if f.phnum > maxProgs {
		return fmt.Errorf("it has %d program headers", f.phnum)
	}
	for i := range f.phnum {
		at := f.phoff + uint64(i)*uint64(f.phentsize)
		if f.info.Bits == 32 {
			var p elf.Prog32
			if err := f.read(at, &p); err != nil {
				return errors.New("its program headers are not in it")
			}
			f.progs = append(f.progs, prog{typ: p.Type, flags: p.Flags, off: uint64(p.Off), vaddr: uint64(p.Vaddr), size: uint64(p.Filesz), memory: uint64(p.Memsz), align: uint64(p.Align)})
			continue
		}
		var p elf.Prog64
		if err := f.read(at, &p); err != nil {
			return errors.New("its program headers are not in it")
		}
		f.progs = append(f.progs, prog{typ: p.Type, flags: p.Flags, off: p.Off, vaddr: p.Vaddr, size: p.Filesz, memory: p.Memsz, align: p.Align})
	}
	return nil
}

// readSections reads the section headers and their names. A file without any
// is sound: the kernel does not look at them.
func (f *elfFile) readSections() error {
	if f.shoff == 0 || f.shnum == 0 || f.shoff >= uint64(f.size) {
		f.shnum = 0
		return nil
	}
	if f.shnum > maxSections {
		return fmt.Errorf("it has %d sections", f.shnum)
	}
	size := binary.Size(elf.Section64{})
	if f.info.Bits == 32 {
		size = binary.Size(elf.Section32{})
	}
	if f.shentsize < size || f.shentsize > 1024 {
		return fmt.Errorf("its section headers have %d bytes", f.shentsize)
	}
	raw, err := f.bytes(f.shoff, uint64(f.shnum)*uint64(f.shentsize))
	if err != nil {
		return errors.New("its section headers are not in it")
	}
	for i := range f.shnum {
		part := raw[i*f.shentsize:][:size]
		if f.info.Bits == 32 {
			var s elf.Section32
			if _, err := binary.Decode(part, f.order, &s); err != nil {
				return err
			}
			f.sections = append(f.sections, section{name: s.Name, typ: s.Type, link: s.Link, flags: uint64(s.Flags), addr: uint64(s.Addr), off: uint64(s.Off), size: uint64(s.Size)})
			continue
		}
		var s elf.Section64
		if _, err := binary.Decode(part, f.order, &s); err != nil {
			return err
		}
		f.sections = append(f.sections, section{name: s.Name, typ: s.Type, link: s.Link, flags: s.Flags, addr: s.Addr, off: s.Off, size: s.Size})
	}
	if f.strtabs > 0 && f.strtabs < len(f.sections) {
		if f.names, err = f.bytes(f.sections[f.strtabs].off, f.sections[f.strtabs].size); err != nil {
			return errors.New("the names of its sections are not in it")
		}
	}
	return nil
}

func (f *elfFile) sectionName(s section) string {
	if uint64(s.name) >= uint64(len(f.names)) {
		return ""
	}
	name, _, _ := bytes.Cut(f.names[s.name:], []byte{0})
	return string(name)
}

// offset finds where in the file a virtual address lies.
func (f *elfFile) offset(vaddr uint64) (uint64, bool) {
	for _, p := range f.progs {
		if elf.ProgType(p.typ) == elf.PT_LOAD && vaddr >= p.vaddr && vaddr-p.vaddr < p.size {
			return p.off + (vaddr - p.vaddr), true
		}
	}
	return 0, false
}

func (f *elfFile) notes(p prog) {
	raw, err := f.bytes(p.off, min(p.size, maxAttributes))
	if err != nil {
		return
	}
	for _, system := range []string{"FreeBSD", "NetBSD", "OpenBSD"} {
		if f.info.OS == "" && len(raw) > 12 && bytes.HasPrefix(raw[12:], []byte(system+"\x00")) {
			f.info.OS = strings.ToLower(system)
		}
	}
	if f.info.Machine == elf.EM_X86_64 && f.info.X86 == 0 {
		f.info.X86 = x86Level(raw, f.info.Bits == 64)
	}
}

// goBuild reads the build information of Go. The headers were checked before:
// debug/elf, which reads them again, trusts them more.
func (f *elfFile) goBuild() {
	defer func() { _ = recover() }() // debug/elf does not promise to be safe from foreign bytes
	info, err := buildinfo.Read(io.NewSectionReader(f.r, 0, f.size))
	if err != nil {
		return
	}
	f.info.Go, _, _ = strings.Cut(info.GoVersion, " ")
	if len(f.info.Go) > 64 {
		f.info.Go = f.info.Go[:64]
	}
	for _, s := range info.Settings {
		if slices.Contains(goLevels, s.Key) && len(s.Value) < 64 {
			if f.info.GoSettings == nil {
				f.info.GoSettings = map[string]string{}
			}
			f.info.GoSettings[s.Key] = s.Value
		}
	}
}

// goLevels are the settings that say what a Go program needs of the machine.
var goLevels = []string{"GOOS", "GOARCH", "GOARM", "GOARM64", "GOAMD64", "GO386", "GOPPC64", "GORISCV64", "GOMIPS", "GOMIPS64", "CGO_ENABLED"}

func (f *elfFile) read(off uint64, v any) error {
	raw, err := f.bytes(off, uint64(binary.Size(v)))
	if err != nil {
		return err
	}
	_, err = binary.Decode(raw, f.order, v)
	return err
}

// bytes reads part of the file, if it is wholly in it and not too much.
func (f *elfFile) bytes(off, n uint64) ([]byte, error) {
	size := uint64(f.size)
	if n > maxTable || off > size || n > size-off {
		return nil, io.ErrUnexpectedEOF
	}
	raw := make([]byte, n)
	if _, err := f.r.ReadAt(raw, int64(off)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return raw, nil
}

// cstring reads a string that ends with NUL, of at most n bytes.
func (f *elfFile) cstring(off, n uint64) (string, error) {
	size := uint64(f.size)
	if off >= size {
		return "", io.ErrUnexpectedEOF
	}
	raw, err := f.bytes(off, min(n, maxName, size-off))
	if err != nil {
		return "", err
	}
	text, _, _ := bytes.Cut(raw, []byte{0})
	return string(text), nil
}
