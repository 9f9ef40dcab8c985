package rootfs

import (
	"debug/elf"
	"math"
	"slices"
)

// pageSizes are those of Linux's machines, the largest first.
var pageSizes = []uint64{64 << 10, 16 << 10, 4 << 10}

// pageSize is the largest page with which the segments can be mapped: address
// and offset must agree within a page, and no page may belong to two segments.
// The loaders of glibc moreover refuse libraries that are aligned to less than
// a page.
func (f *elfFile) pageSize() uint64 {
	var loads []prog
	for _, p := range f.progs {
		if elf.ProgType(p.typ) == elf.PT_LOAD && p.memory > 0 {
			loads = append(loads, p)
		}
	}
	if len(loads) == 0 {
		return 0
	}
	fits := func(page uint64) bool {
		last := uint64(0)
		for i, p := range loads {
			if (p.vaddr-p.off)%page != 0 {
				return false
			}
			if f.info.Type == elf.ET_DYN && p.align >= 4<<10 && p.align < page {
				return false
			}
			if i > 0 && p.vaddr/page <= last {
				return false
			}
			if p.memory > math.MaxUint64-p.vaddr {
				return false
			}
			last = (p.vaddr + p.memory - 1) / page
		}
		return true
	}
	for _, page := range pageSizes {
		if fits(page) {
			return page
		}
	}
	return 0
}

// dynamic reads what the file asks of the dynamic loader.
func (f *elfFile) dynamic(p prog) {
	width := uint64(f.info.Bits / 8)
	raw, err := f.bytes(p.off, min(p.size, 64<<10))
	if err != nil {
		return
	}
	var needed []uint64
	values := map[elf.DynTag]uint64{}
	for ; uint64(len(raw)) >= 2*width; raw = raw[2*width:] {
		tag, value := elf.DynTag(f.word(raw)), f.word(raw[width:])
		if tag == elf.DT_NULL {
			break
		}
		if tag == elf.DT_NEEDED {
			if len(needed) < maxNeeded {
				needed = append(needed, value)
			}
			continue
		}
		values[tag] = value
	}
	const pie = 0x08000000 // DF_1_PIE
	f.pie = values[elf.DT_FLAGS_1]&pie != 0
	strings, ok := f.offset(values[elf.DT_STRTAB])
	if !ok {
		return
	}
	text := func(at uint64) string {
		s, _ := f.cstring(strings+at, maxName)
		return s
	}
	for _, n := range needed {
		if name := text(n); name != "" {
			f.info.Needed = append(f.info.Needed, name)
		}
	}
	for tag, to := range map[elf.DynTag]*string{elf.DT_RPATH: &f.info.RPath, elf.DT_RUNPATH: &f.info.RunPath, elf.DT_SONAME: &f.info.SoName} {
		if at := values[tag]; at != 0 {
			*to = text(at)
		}
	}
	if at, ok := f.offset(values[elf.DT_VERDEF]); ok && values[elf.DT_VERDEF] != 0 {
		f.defines(at, min(values[elf.DT_VERDEFNUM], maxVersions), text)
	}
	if at, ok := f.offset(values[elf.DT_VERNEED]); ok && values[elf.DT_VERNEED] != 0 {
		indexes := f.wants(at, min(values[elf.DT_VERNEEDNUM], maxNeeded), text)
		f.symbols(indexes, values, text)
	}
}

// word reads an address-sized number.
func (f *elfFile) word(b []byte) uint64 {
	if f.info.Bits == 32 {
		return uint64(f.order.Uint32(b))
	}
	return f.order.Uint64(b)
}

// defines reads the versions that a library defines.
func (f *elfFile) defines(at, n uint64, text func(uint64) string) {
	const size = 20
	for range n {
		raw, err := f.bytes(at, size)
		if err != nil {
			return
		}
		flags, aux, next := f.order.Uint16(raw[2:]), uint64(f.order.Uint32(raw[12:])), uint64(f.order.Uint32(raw[16:]))
		if first, err := f.bytes(at+aux, 8); err == nil && flags&1 == 0 { // 1: the file itself
			if name := text(uint64(f.order.Uint32(first))); name != "" {
				f.info.Defines = append(f.info.Defines, name)
			}
		}
		if next == 0 {
			return
		}
		at += next
	}
}

// wants reads the versions that are needed, and returns which symbols have
// which: the number in the table of versions, and the place in Wants.
func (f *elfFile) wants(at, n uint64, text func(uint64) string) map[uint16]int {
	const size, weak = 16, 2
	indexes := map[uint16]int{}
	read := 0 // whatever the numbers in the file
	for range n {
		raw, err := f.bytes(at, size)
		if err != nil {
			return indexes
		}
		count, library := f.order.Uint16(raw[2:]), text(uint64(f.order.Uint32(raw[4:])))
		next := uint64(f.order.Uint32(raw[12:]))
		for aux := at + uint64(f.order.Uint32(raw[8:])); count > 0 && read < maxVersions; count-- {
			read++
			raw, err := f.bytes(aux, size)
			if err != nil {
				break
			}
			if name := text(uint64(f.order.Uint32(raw[8:]))); name != "" && library != "" {
				indexes[f.order.Uint16(raw[6:])] = len(f.info.Wants)
				f.info.Wants = append(f.info.Wants, Version{Library: library, Name: name, Weak: f.order.Uint16(raw[4:])&weak != 0})
			}
			step := uint64(f.order.Uint32(raw[12:]))
			if step == 0 {
				break
			}
			aux += step
		}
		if next == 0 {
			return indexes
		}
		at += next
	}
	return indexes
}

// symbols names one symbol of each version that is needed.
func (f *elfFile) symbols(indexes map[uint16]int, values map[elf.DynTag]uint64, text func(uint64) string) {
	versions, ok := f.offset(values[elf.DT_VERSYM])
	table, fine := f.offset(values[elf.DT_SYMTAB])
	if !ok || !fine || len(indexes) == 0 {
		return
	}
	size := uint64(24)
	if f.info.Bits == 32 {
		size = 16
	}
	// The string table follows the symbols as linkers lay them out; where it
	// does not, fewer symbols are named.
	end := values[elf.DT_STRTAB]
	if end <= values[elf.DT_SYMTAB] {
		return
	}
	n := min((end-values[elf.DT_SYMTAB])/size, maxTable/2)
	raw, err := f.bytes(versions, 2*n)
	if err != nil {
		return
	}
	left := len(indexes)
	for i := uint64(0); i < n && left > 0; i++ {
		want, ok := indexes[f.order.Uint16(raw[2*i:])&0x7fff]
		if !ok || f.info.Wants[want].Symbol != "" {
			continue
		}
		entry, err := f.bytes(table+i*size, 4)
		if err != nil {
			return
		}
		f.info.Wants[want].Symbol = text(uint64(f.order.Uint32(entry)))
		left--
	}
	f.info.Wants = slices.Clip(f.info.Wants)
}
