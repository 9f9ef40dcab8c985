package rootfs

import (
	"debug/elf"
	"fmt"
	"regexp"
	"slices"
	"sync"
)

// Bounds of the search for instructions that not every CPU has.
const (
	maxWalked    = 64 << 20 // bytes of code of one file
	maxFunctions = 3000     // the nearest to where a program is entered
	maxExports   = 1000     // functions of one library that are read
)

// walking bounds the memory of such searches: one at a time.
var walking sync.Mutex

// BareCode is an instruction that a program or library runs without asking
// the CPU for it first.
type BareCode struct {
	// Level is the micro-architecture level of x86-64 that has it, 3 or 4.
	Level int
	// Where is the place: "vaddps at 0x401136 in main".
	Where string
}

// walker follows the code of a file from where it is entered.
type walker struct {
	code  []byte
	base  uint64 // the address of code, and off its place in the file
	off   uint64
	seen  []uint64 // a bit a byte: an instruction begins there
	funcs map[uint64]*function
	queue []uint64
	// shallow is set where functions are read without those that they call.
	shallow, inside bool
	// cut reports whether there were more functions than are read.
	cut bool
	// slots are places in data that the loader fills with addresses.
	slots map[uint64]uint64
	// variables are 16-byte blocks that hold what CPUID said.
	variables map[uint64]bool
}

// function is a part of the code that is entered by a call.
type function struct {
	calls, taken []uint64 // functions: called, and whose address is taken
	cpuid        bool
	stores       []uint64 // addresses
	loads        []uint64
	bare         uint64 // the first instruction that needs a level, 0 if none
	level, count int    // of those
	asked        bool   // it has CPUID itself, or in what it calls
	asks         bool   // or reads what was answered
}

// bareX86 finds an instruction above the baseline that nothing guards. Code is
// followed as it is called from where the file is entered; a function that asks
// the CPU, or reads what an earlier question brought, decides for what it calls
// and for itself. What is reached through pointers alone, as ifuncs and
// dispatch tables are, was chosen by somebody who asked.
func (f *elfFile) bareX86() *BareCode {
	p, ok := f.text()
	if !ok {
		return nil
	}
	walking.Lock()
	defer walking.Unlock()
	code := make([]byte, p.size)
	if _, err := f.r.ReadAt(code, int64(p.off)); err != nil {
		return nil
	}
	w := &walker{code: code, base: p.vaddr, off: p.off, seen: make([]uint64, len(code)/64+1), funcs: map[uint64]*function{}, variables: map[uint64]bool{}, slots: f.slots()}
	entry := f.entry
	var exports []export
	library := f.info.Type == elf.ET_DYN && (f.info.SoName != "" || f.info.Interp == "" && !f.pie)
	if library {
		entry = 0
	}
	roots := f.initialisers(w)
	if entry != 0 {
		roots = append(roots, entry)
	}
	for _, at := range roots {
		w.enter(at)
	}
	w.explore()
	if library {
		w.shallow = true
		exports = f.exports()
		for _, e := range exports {
			w.enter(e.at)
			w.explore()
		}
	}
	w.judge()
	if fn := w.reachBare(roots, !library); fn != nil || !library {
		return f.bareAt(w, fn)
	}
	// Libraries have functions for each CPU that their callers choose from. One
	// that was compiled for a newer CPU has such code all over.
	var first *function
	bare := 0
	for _, e := range exports {
		fn := w.funcs[e.at]
		if fn == nil || fn.asks || fn.bare == 0 {
			continue
		}
		if name, _ := f.cstring(e.name, 256); forCPU.MatchString(name) {
			continue
		}
		if bare++; first == nil {
			first = fn
		}
	}
	if bare < 3 || bare*12 < len(exports) {
		return nil
	}
	return f.bareAt(w, first)
}

// text is the part of the file with the code: of its segment that which sections
// say is code, as constants may lie in it too.
func (f *elfFile) text() (prog, bool) {
	for _, p := range f.progs {
		if elf.ProgType(p.typ) != elf.PT_LOAD || p.flags&uint32(elf.PF_X) == 0 || p.size == 0 || p.off > uint64(f.size) || p.size > uint64(f.size)-p.off {
			continue
		}
		from, to := p.vaddr+p.size, p.vaddr
		for _, s := range f.sections {
			if s.flags&uint64(elf.SHF_EXECINSTR) != 0 && s.typ == uint32(elf.SHT_PROGBITS) && s.addr >= p.vaddr && s.addr-p.vaddr <= p.size && s.size <= p.size-(s.addr-p.vaddr) {
				from, to = min(from, s.addr), max(to, s.addr+s.size)
			}
		}
		if from < to {
			p.off, p.vaddr, p.size = p.off+from-p.vaddr, from, to-from
		}
		return p, p.size <= maxWalked
	}
	return prog{}, false
}

// export is a function of a library, and the place of its name in the file.
type export struct{ at, name uint64 }

// exports are the functions that others may call, but those that a resolver
// chooses.
func (f *elfFile) exports() []export {
	var out []export
	for _, s := range f.sections {
		if s.typ != uint32(elf.SHT_DYNSYM) || f.info.Bits != 64 {
			continue
		}
		raw, err := f.bytes(s.off, min(s.size, maxTable/24*24))
		if err != nil {
			return nil
		}
		for ; len(raw) >= 24; raw = raw[24:] {
			at := f.order.Uint64(raw[8:])
			if elf.ST_TYPE(raw[4]) != elf.STT_FUNC || f.order.Uint16(raw[6:]) == 0 || at == 0 || int(s.link) >= len(f.sections) {
				continue
			}
			out = append(out, export{at, f.sections[s.link].off + uint64(f.order.Uint32(raw))})
			if len(out) >= maxExports {
				return out
			}
		}
	}
	return out
}

// forCPU are names of functions that their callers choose by the CPU, those of
// the vector ABI among them.
// https://sourceware.org/glibc/wiki/libmvec
var forCPU = regexp.MustCompile(`(?i)^_ZGV|^__[jf]svml|avx|sse[234]|ssse3|fma|bmi|f16c|haswell|broadwell|skylake|sandybridge|zen|excavator|bulldozer|piledriver|steamroller|cooperlake|sapphire|knl|x86_64_v[34]`)

// initialisers are the functions that run before the program, or when a library
// is loaded.
func (f *elfFile) initialisers(w *walker) []uint64 {
	var out []uint64
	for _, s := range f.sections {
		const initArray, preinitArray = 14, 16
		if s.typ != initArray && s.typ != preinitArray || s.size > 64<<10 {
			continue
		}
		raw, err := f.bytes(s.off, s.size)
		if err != nil {
			continue
		}
		for ; len(raw) >= 8; raw = raw[8:] {
			if at := f.order.Uint64(raw); w.has(at) {
				out = append(out, at)
			}
		}
		for at := s.addr; at < s.addr+s.size; at += 8 {
			if to, ok := w.slots[at]; ok {
				out = append(out, to)
			}
		}
	}
	return out
}

// slots reads the relocations of what lies in the file itself.
// https://gitlab.com/x86-psABIs/x86-64-ABI (table of relocation types)
func (f *elfFile) slots() map[uint64]uint64 {
	const size, relative, most = 24, 8, 20_000
	out := map[uint64]uint64{}
	for _, s := range f.sections {
		if s.typ != uint32(elf.SHT_RELA) || s.flags&uint64(elf.SHF_ALLOC) == 0 { //nolint:misspell // ELF names it so
			continue
		}
		raw, err := f.bytes(s.off, min(s.size, maxTable/size*size))
		if err != nil {
			continue
		}
		for ; len(raw) >= size && len(out) < most; raw = raw[size:] {
			if f.order.Uint32(raw[8:]) == relative {
				out[f.order.Uint64(raw)] = f.order.Uint64(raw[16:])
			}
		}
	}
	return out
}

func (w *walker) has(at uint64) bool { return at >= w.base && at-w.base < uint64(len(w.code)) }

// mark reports whether an instruction was seen before, and marks it.
func (w *walker) mark(at uint64) bool {
	i := at - w.base
	bit := uint64(1) << (i % 64)
	if w.seen[i/64]&bit != 0 {
		return true
	}
	w.seen[i/64] |= bit
	return false
}

// enter remembers that a function begins there.
func (w *walker) enter(at uint64) {
	if !w.has(at) || w.funcs[at] != nil || w.shallow && w.inside {
		return
	}
	if len(w.funcs) >= maxFunctions && !w.shallow {
		w.cut = true
		return
	}
	w.funcs[at] = &function{}
	w.queue = append(w.queue, at)
}

func (w *walker) explore() {
	for len(w.queue) > 0 {
		at := w.queue[0]
		w.queue = w.queue[1:]
		w.inside = true
		w.function(w.funcs[at], at)
		w.inside = false
	}
}

// function reads the instructions of one, block by block. A block that two share
// belongs to the first.
func (w *walker) function(fn *function, at uint64) {
	blocks := []uint64{at}
	for len(blocks) > 0 {
		at := blocks[len(blocks)-1]
		blocks = blocks[:len(blocks)-1]
		for w.has(at) {
			// What follows a call that does not return is another's.
			if other := w.funcs[at]; other != nil && other != fn {
				fn.calls = append(fn.calls, at)
				break
			}
			if w.mark(at) {
				break
			}
			in, ok := decodeX86(w.code[at-w.base : min(uint64(len(w.code)), at-w.base+15)])
			if !ok {
				break
			}
			next := at + uint64(in.size)
			to := next + uint64(in.target)
			w.note(fn, in, at, next)
			switch {
			case in.call:
				if w.has(to) {
					fn.calls = append(fn.calls, to)
					w.enter(to)
				}
			case in.jump && w.has(to):
				if w.funcs[to] != nil {
					fn.calls = append(fn.calls, to)
				} else {
					blocks = append(blocks, to)
				}
			}
			if in.stop {
				break
			}
			at = next
		}
	}
}

// note keeps what an instruction says of the function.
func (w *walker) note(fn *function, in x86inst, at, next uint64) {
	fn.cpuid = fn.cpuid || in.cpuid
	if in.needs != 0 {
		if fn.count++; fn.bare == 0 || in.needs > fn.level {
			fn.bare, fn.level = at, in.needs
		}
	}
	if at := uint64(in.value); at != 0 && w.has(at) {
		fn.taken = append(fn.taken, at)
		w.enter(at)
	}
	if !in.relative && !in.direct {
		return
	}
	address := uint64(in.memory)
	if in.relative {
		address += next
	}
	if to, ok := w.slots[address]; ok && !in.lea {
		switch {
		case in.through && w.has(to):
			fn.calls = append(fn.calls, to)
			w.enter(to)
		case w.has(to):
			fn.taken = append(fn.taken, to)
			w.enter(to)
		default: // the address of a variable
			fn.loads, fn.stores = append(fn.loads, to), append(fn.stores, to)
		}
		return
	}
	switch {
	case in.lea && w.has(address):
		fn.taken = append(fn.taken, address)
		w.enter(address)
	case in.lea, in.store:
		fn.stores = append(fn.stores, address)
		if !in.lea {
			fn.loads = append(fn.loads, address)
		}
	default:
		fn.loads = append(fn.loads, address)
	}
}

// judge tells which functions ask the CPU, or read what it answered: those that
// have CPUID, as they are or in a function that they call, and those that read a
// variable which one of these writes.
func (w *walker) judge() {
	asking := map[uint64]bool{}
	for at, fn := range w.funcs {
		asking[at] = fn.cpuid
	}
	for level := range 2 {
		var callers []uint64
		for at, fn := range w.funcs {
			if !asking[at] && slices.ContainsFunc(fn.calls, func(to uint64) bool { return asking[to] }) {
				callers = append(callers, at)
			}
		}
		for _, at := range callers {
			asking[at] = true
		}
		if level > 0 {
			continue // what callers of callers write has more than that in it
		}
		for at, fn := range w.funcs {
			if asking[at] {
				for _, address := range fn.stores {
					w.variables[address>>4] = true
				}
			}
		}
	}
	for at, fn := range w.funcs {
		fn.asked = asking[at]
		fn.asks = fn.asked || slices.ContainsFunc(fn.loads, func(address uint64) bool { return w.variables[address>>4] })
	}
}

// near is how many calls from its main function a program's functions are judged
// one by one, unless something as near asks the CPU: the answer may be handed on
// by any way, as a field or an argument.
const near = 3

// reachBare is the first function with such an instruction that is reached from
// roots and not through one that asks; nil if none is. Pointers that a program
// takes first lead to its main function; others may be choices.
func (w *walker) reachBare(roots []uint64, program bool) *function {
	type step struct {
		at    uint64
		depth int
	}
	seen := map[uint64]bool{}
	var queue []step
	for _, at := range roots {
		// What starts a program is given its main function; the C library's own
		// part, which asks, is called.
		if fn := w.funcs[at]; program && fn != nil && len(fn.taken) > 0 && fn.bare == 0 {
			seen[at] = true
			for _, to := range fn.taken {
				queue = append(queue, step{to, 0})
			}
			continue
		}
		queue = append(queue, step{at, 0})
	}
	var first, far *function
	asked, reached, bare, count := false, 0, 0, 0
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		fn := w.funcs[s.at]
		if fn == nil || seen[s.at] {
			continue
		}
		seen[s.at] = true
		if fn.asks {
			asked = asked || fn.asked && s.depth < near
			continue
		}
		reached++
		if fn.bare != 0 {
			bare++
			count += fn.count
			if far == nil {
				far = fn
			}
			if s.depth <= near && fn.count > 1 && first == nil {
				first = fn
			}
		}
		for _, to := range fn.calls {
			queue = append(queue, step{to, s.depth + 1})
		}
		if program && s.depth <= near {
			for _, to := range fn.taken {
				queue = append(queue, step{to, s.depth + 1})
			}
		}
	}
	switch {
	case asked && (bare < 5 || bare*10 < reached):
		return nil
	case first != nil:
		return first
	case count > 1 && (!w.cpuid() || bare >= 5 && bare*10 >= reached):
		return far
	}
	return nil
}

// cpuid reports whether any function may ask the CPU.
func (w *walker) cpuid() bool {
	if w.cut {
		return true
	}
	for _, fn := range w.funcs {
		if fn.cpuid {
			return true
		}
	}
	return false
}

// bareAt names the place.
func (f *elfFile) bareAt(w *walker, fn *function) *BareCode {
	if fn == nil {
		return nil
	}
	what := "an AVX or BMI instruction"
	if fn.level == 4 {
		what = "an AVX-512 instruction"
	}
	where := fmt.Sprintf("%s at %#x (offset %#x in the file)", what, fn.bare, fn.bare-w.base+w.off)
	if name := f.function(fn.bare); name != "" {
		where += " in " + name
	}
	return &BareCode{Level: fn.level, Where: where}
}
