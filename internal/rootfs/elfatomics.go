package rootfs

import (
	"debug/elf"
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
)

// Bounds of the search for atomic instructions.
const (
	maxCode    = 512 << 20 // bytes of one file
	codeChunk  = 1 << 20
	around     = 512 // bytes on each side of an instruction
	neighbours = 8   // instructions on each side that must be ones
	maxSymbols = 500_000
)

// bareAtomics finds an instruction of ARMv8.1's Large System Extensions that
// nothing guards: compilers that ask the CPU first (outline atomics, Go) put
// the loop of exclusive loads and stores right beside it. It returns what is
// there, "casal at 0x4005d0 in bump", or "".
// https://developer.arm.com/documentation/ddi0487 (C4.1, loads and stores)
func (f *elfFile) bareAtomics() string {
	for _, s := range f.sections {
		if s.flags&uint64(elf.SHF_EXECINSTR) == 0 || s.typ != uint32(elf.SHT_PROGBITS) || s.size > maxCode {
			continue
		}
		for at := uint64(0); at < s.size; at += codeChunk {
			from := s.off + at - min(at, around)
			raw, err := f.bytes(from, min(codeChunk+2*around, s.off+s.size-from))
			if err != nil {
				return ""
			}
			if i := f.bareAtomic(raw); i >= 0 {
				vaddr := s.addr + from - s.off + uint64(i)
				name := "an atomic instruction of ARMv8.1"
				if inst, err := arm64asm.Decode(raw[i:]); err == nil {
					name = inst.Op.String()
				}
				text := fmt.Sprintf("%s at %#x", name, vaddr)
				if symbol := f.function(vaddr); symbol != "" {
					text += " in " + symbol
				}
				return text
			}
		}
	}
	return ""
}

// bareAtomic is the place of one in raw, or -1.
func (f *elfFile) bareAtomic(raw []byte) int {
	for i := 0; i+4 <= len(raw); i += 4 {
		if !isLSE(f.order.Uint32(raw[i:])) {
			continue
		}
		guarded := false
		for j := max(0, i-around); j+4 <= min(len(raw), i+around); j += 4 {
			if isExclusive(f.order.Uint32(raw[j:])) {
				guarded = true
				break
			}
		}
		if guarded {
			continue
		}
		// Tables among the code hold any number; what is beside this one must
		// be instructions as well.
		valid, all := 0, 0
		for j := max(0, i-4*neighbours); j+4 <= min(len(raw), i+4*(neighbours+1)); j += 4 {
			if j == i {
				continue
			}
			all++
			if _, err := arm64asm.Decode(raw[j : j+4]); err == nil {
				valid++
			}
		}
		if all >= neighbours && valid*8 >= all*7 {
			return i
		}
	}
	return -1
}

// isLSE knows CAS, CASP, SWP and the LD<op> instructions on 32 and 64 bits.
func isLSE(w uint32) bool {
	switch {
	case w&0xbfa07c00 == 0x88a07c00, w&0xbfa07c00 == 0x08207c00:
		return true
	case w&0xbf200c00 == 0xb8200000:
		swap := w&0x8000 != 0
		return !swap || w&0x7000 == 0
	}
	return false
}

// isExclusive knows the loads and stores of which atomic operations were made
// before.
func isExclusive(w uint32) bool { return w&0x3fa00000 == 0x08000000 || w&0xbfa00000 == 0x88200000 }

// function names the function that an address lies in, "" if no table of
// symbols does.
func (f *elfFile) function(vaddr uint64) string {
	for _, s := range f.sections {
		if s.typ != uint32(elf.SHT_SYMTAB) && s.typ != uint32(elf.SHT_DYNSYM) || f.info.Bits != 64 || int(s.link) >= len(f.sections) {
			continue
		}
		const size = 24
		raw, err := f.bytes(s.off, min(s.size, maxSymbols*size))
		if err != nil {
			continue
		}
		for ; len(raw) >= size; raw = raw[size:] {
			start, length := f.order.Uint64(raw[8:]), f.order.Uint64(raw[16:])
			if elf.ST_TYPE(raw[4]) != elf.STT_FUNC || vaddr < start || vaddr-start >= length {
				continue
			}
			name, _ := f.cstring(f.sections[s.link].off+uint64(f.order.Uint32(raw)), 256)
			return name
		}
	}
	return ""
}
