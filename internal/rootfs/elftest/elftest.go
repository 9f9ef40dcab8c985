// Package elftest makes small ELF files for tests: what a loader and a kernel
// look at is in them, and nothing else.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// File says what an ELF file is like. The zero value of all but Arch is fine.
type File struct {
	// Arch is the architecture as Go names it.
	Arch string
	// Type is ET_DYN unless it says otherwise, OSABI that of System V.
	Type  elf.Type
	OSABI elf.OSABI
	// Interp is the dynamic loader, Needed the libraries, SoName its own name.
	Interp         string
	Needed         []string
	SoName         string
	RPath, RunPath string
	// Wants are versions of symbols that are needed, by library, and Defines
	// those that are defined.
	Wants   map[string][]string
	Defines []string
	// Page is the page size in bytes that it is laid out for; 64 KiB if 0.
	Page uint64
	// Code is put at its entry point.
	Code []byte
}

type machine struct {
	machine elf.Machine
	bits    int
	big     bool
}

var machines = map[string]machine{
	"386": {elf.EM_386, 32, false}, "amd64": {elf.EM_X86_64, 64, false}, "arm": {elf.EM_ARM, 32, false}, "arm64": {elf.EM_AARCH64, 64, false},
	"loong64": {elf.EM_LOONGARCH, 64, false}, "mips": {elf.EM_MIPS, 32, true}, "mipsle": {elf.EM_MIPS, 32, false}, "mips64le": {elf.EM_MIPS, 64, false},
	"ppc64le": {elf.EM_PPC64, 64, false}, "riscv64": {elf.EM_RISCV, 64, false}, "s390x": {elf.EM_S390, 64, true},
	"avr": {elf.EM_AVR, 32, false}, "bpf": {elf.EM_BPF, 64, false},
}

// Loaders are the dynamic loaders of glibc by architecture.
var Loaders = map[string]string{
	"386": "/lib/ld-linux.so.2", "amd64": "/lib64/ld-linux-x86-64.so.2", "arm": "/lib/ld-linux-armhf.so.3", "arm64": "/lib/ld-linux-aarch64.so.1",
	"loong64": "/lib64/ld-linux-loongarch-lp64d.so.1", "mips64le": "/lib64/ld.so.1", "ppc64le": "/lib64/ld64.so.2", "riscv64": "/lib/ld-linux-riscv64-lp64d.so.1", "s390x": "/lib/ld64.so.1",
}

// Make returns the bytes of a file.
func Make(f File) []byte {
	m := machines[f.Arch]
	w := &writer{bits: m.bits, order: binary.LittleEndian, strings: []byte{0}}
	if m.big {
		w.order = binary.BigEndian
	}
	if f.Page == 0 {
		f.Page = 64 << 10
	}
	if f.Type == elf.ET_NONE {
		f.Type = elf.ET_DYN
	}
	dynamic := len(f.Needed)+len(f.Wants)+len(f.Defines) > 0 || f.SoName+f.RPath+f.RunPath != ""
	headers := 2
	if f.Interp != "" {
		headers++
	}
	if dynamic {
		headers++
	}
	ehsize, phsize := 64, 56
	if m.bits == 32 {
		ehsize, phsize = 52, 32
	}
	w.zero(ehsize + headers*phsize)
	var programs [][4]uint64 // type, offset, size, align
	if f.Interp != "" {
		at := w.len()
		w.raw(append([]byte(f.Interp), 0))
		programs = append(programs, [4]uint64{uint64(elf.PT_INTERP), at, uint64(len(f.Interp) + 1), 1})
	}
	if dynamic {
		at, size := w.dynamic(f)
		programs = append(programs, [4]uint64{uint64(elf.PT_DYNAMIC), at, size, 8})
	}
	w.align(16)
	entry := w.len()
	w.raw(f.Code)
	w.zero(16)
	end := w.len()
	// A second segment, which lies one page of the layout further on.
	w.zero(16)
	programs = append(programs, [4]uint64{uint64(elf.PT_LOAD), 0, end, f.Page}, [4]uint64{uint64(elf.PT_LOAD), end, 16, f.Page})
	out := w.b.Bytes()
	h := &writer{bits: m.bits, order: w.order}
	class := byte(elf.ELFCLASS64)
	if m.bits == 32 {
		class = byte(elf.ELFCLASS32)
	}
	data := byte(elf.ELFDATA2LSB)
	if m.big {
		data = byte(elf.ELFDATA2MSB)
	}
	h.raw([]byte{0x7f, 'E', 'L', 'F', class, data, 1, byte(f.OSABI), 0, 0, 0, 0, 0, 0, 0, 0})
	h.half(uint16(f.Type))
	h.half(uint16(m.machine))
	h.word(1)
	h.address(entry)
	h.address(uint64(ehsize))
	h.address(0)
	flags := uint32(0)
	if m.machine == elf.EM_ARM {
		flags = 0x05000000
	}
	h.word(flags)
	for _, n := range []int{ehsize, phsize, headers, 0, 0, 0} {
		h.half(uint16(n))
	}
	for i, p := range programs {
		address := p[1]
		if i == len(programs)-1 {
			address += f.Page
		}
		h.word(uint32(p[0]))
		if m.bits == 64 {
			h.word(5)
		}
		for _, v := range []uint64{p[1], address, address, p[2], p[2]} {
			h.address(v)
		}
		if m.bits == 32 {
			h.word(5)
		}
		h.address(p[3])
	}
	copy(out, h.b.Bytes())
	return out
}

// order is a byte order that appends.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

type writer struct {
	b       bytes.Buffer
	bits    int
	order   order
	strings []byte
}

func (w *writer) len() uint64  { return uint64(w.b.Len()) }
func (w *writer) raw(p []byte) { w.b.Write(p) }
func (w *writer) zero(n int)   { w.b.Write(make([]byte, n)) }
func (w *writer) half(v uint16) {
	w.raw(w.order.AppendUint16(nil, v))
}
func (w *writer) word(v uint32) { w.raw(w.order.AppendUint32(nil, v)) }
func (w *writer) address(v uint64) {
	if w.bits == 32 {
		w.word(uint32(v))
		return
	}
	w.raw(w.order.AppendUint64(nil, v))
}
func (w *writer) align(n int) { w.zero((n - w.b.Len()%n) % n) }

func (w *writer) string(s string) uint64 {
	at := len(w.strings)
	w.strings = append(append(w.strings, s...), 0)
	return uint64(at)
}

// dynamic writes what the dynamic loader reads, and returns where the table of
// it lies.
func (w *writer) dynamic(f File) (at, size uint64) {
	type tag struct {
		tag   elf.DynTag
		value uint64
	}
	var tags []tag
	for _, lib := range f.Needed {
		tags = append(tags, tag{elf.DT_NEEDED, w.string(lib)})
	}
	for _, t := range []struct {
		tag  elf.DynTag
		text string
	}{{elf.DT_SONAME, f.SoName}, {elf.DT_RPATH, f.RPath}, {elf.DT_RUNPATH, f.RunPath}} {
		if t.text != "" {
			tags = append(tags, tag{t.tag, w.string(t.text)})
		}
	}
	symbols := []uint64{0} // names
	versions := []uint16{0}
	w.align(8)
	if len(f.Wants) > 0 {
		tags = append(tags, tag{elf.DT_VERNEED, w.len()}, tag{elf.DT_VERNEEDNUM, uint64(len(f.Wants))})
		libs := []string{}
		for lib := range f.Wants {
			libs = append(libs, lib)
		}
		slices.Sort(libs)
		for i, lib := range libs {
			wants := f.Wants[lib]
			next := uint32(16 + 16*len(wants))
			if i == len(libs)-1 {
				next = 0
			}
			w.half(1)
			w.half(uint16(len(wants)))
			w.word(uint32(w.string(lib)))
			w.word(16)
			w.word(next)
			for j, version := range wants {
				next := uint32(16)
				if j == len(wants)-1 {
					next = 0
				}
				index := uint16(len(versions) + 1)
				w.word(0)
				w.half(0)
				w.half(index)
				w.word(uint32(w.string(version)))
				w.word(next)
				symbols = append(symbols, w.string("symbol_of_"+version))
				versions = append(versions, index)
			}
		}
	}
	if len(f.Defines) > 0 {
		tags = append(tags, tag{elf.DT_VERDEF, w.len()}, tag{elf.DT_VERDEFNUM, uint64(len(f.Defines))})
		for i, version := range f.Defines {
			next := uint32(28)
			if i == len(f.Defines)-1 {
				next = 0
			}
			w.half(1)
			w.half(0)
			w.half(uint16(i + 2))
			w.half(1)
			w.word(0)
			w.word(20)
			w.word(next)
			w.word(uint32(w.string(version)))
			w.word(0)
		}
	}
	tags = append(tags, tag{elf.DT_VERSYM, w.len()})
	for _, v := range versions {
		w.half(v)
	}
	w.align(8)
	tags = append(tags, tag{elf.DT_SYMTAB, w.len()})
	for _, name := range symbols {
		w.word(uint32(name))
		w.zero(map[int]int{32: 12, 64: 20}[w.bits])
	}
	tags = append(tags, tag{elf.DT_STRTAB, w.len()}, tag{elf.DT_STRSZ, uint64(len(w.strings))}, tag{elf.DT_NULL, 0})
	w.raw(w.strings)
	w.align(8)
	at = w.len()
	for _, t := range tags {
		w.address(uint64(t.tag))
		w.address(t.value)
	}
	return at, w.len() - at
}
