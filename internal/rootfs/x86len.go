package rootfs

import "encoding/binary"

// x86inst is what matters of one instruction of 64-bit x86.
type x86inst struct {
	size int
	// target is where a direct call or jump goes, relative to the next
	// instruction.
	target       int64
	call, jump   bool // direct ones
	conditional  bool // what follows may be run as well
	stop         bool // nothing after it is run
	cpuid, store bool
	lea          bool
	// memory is the address of an operand, if it is known: relative to the
	// next instruction, or absolute.
	memory           int64
	relative, direct bool
	// through reports whether a call or jump goes to what the operand in memory
	// holds, value is an immediate operand of four bytes.
	through bool
	value   uint32
	// needs is the level that has the instruction, 3 or 4, or 0.
	needs int
}

// Immediate operands of one-byte opcodes and of those behind 0F.
const (
	noModRM = 1 << iota
	imm8
	immZ  // 2 or 4 bytes
	bad86 // no instruction
)

// oneByte and twoByte tell what follows an opcode; without a flag that is a
// ModRM byte alone.
// https://www.intel.com/sdm volume 2, appendix A
var oneByte, twoByte = x86tables()

func x86tables() (one, two [256]uint8) {
	set := func(t *[256]uint8, from, to int, flags uint8) {
		for i := from; i <= to; i++ {
			t[i] = flags
		}
	}
	for i := 0; i < 0x40; i += 8 {
		one[i+4], one[i+5] = noModRM|imm8, noModRM|immZ
		one[i+6], one[i+7] = bad86, bad86
	}
	set(&one, 0x50, 0x5f, noModRM)
	set(&one, 0x60, 0x62, bad86)
	one[0x68], one[0x69], one[0x6a], one[0x6b] = noModRM|immZ, immZ, noModRM|imm8, imm8
	set(&one, 0x6c, 0x6f, noModRM)
	set(&one, 0x70, 0x7f, noModRM|imm8)
	one[0x80], one[0x81], one[0x82], one[0x83] = imm8, immZ, bad86, imm8
	set(&one, 0x90, 0x9f, noModRM)
	one[0x9a] = bad86
	set(&one, 0xa0, 0xa7, noModRM)
	one[0xa8], one[0xa9] = noModRM|imm8, noModRM|immZ
	set(&one, 0xaa, 0xaf, noModRM)
	set(&one, 0xb0, 0xb7, noModRM|imm8)
	set(&one, 0xb8, 0xbf, noModRM|immZ)
	one[0xc0], one[0xc1], one[0xc6], one[0xc7] = imm8, imm8, imm8, immZ
	for _, i := range []int{0xc2, 0xc3, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcf, 0xd7} {
		one[i] = noModRM
	}
	one[0xcd] = noModRM | imm8
	one[0xce], one[0xd4], one[0xd5], one[0xd6], one[0xea] = bad86, bad86, bad86, bad86, bad86
	set(&one, 0xe0, 0xe7, noModRM|imm8)
	one[0xe8], one[0xe9], one[0xeb] = noModRM|immZ, noModRM|immZ, noModRM|imm8
	set(&one, 0xec, 0xef, noModRM)
	for _, i := range []int{0xf1, 0xf4, 0xf5, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd} {
		one[i] = noModRM
	}
	for _, i := range []int{0x05, 0x06, 0x07, 0x08, 0x09, 0x0b, 0x0e, 0x77, 0xa0, 0xa1, 0xa2, 0xa8, 0xa9, 0xaa} {
		two[i] = noModRM
	}
	for _, i := range []int{0x04, 0x0a, 0x0c, 0x24, 0x25, 0x26, 0x27, 0x36, 0x39, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0xa6, 0xa7} {
		two[i] = bad86
	}
	set(&two, 0x30, 0x37, noModRM)
	set(&two, 0x80, 0x8f, noModRM|immZ)
	set(&two, 0xc8, 0xcf, noModRM)
	for _, i := range []int{0x0f, 0x70, 0x71, 0x72, 0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6} {
		two[i] = imm8
	}
	return one, two
}

// storing are the opcodes that write to their operand in memory.
func storing(escape bool, op byte, reg byte) bool {
	if escape {
		switch op {
		case 0x11, 0x13, 0x17, 0x29, 0x2b, 0x7f, 0xb0, 0xb1, 0xc0, 0xc1, 0xc3, 0xd6, 0xe7:
			return true
		}
		return false
	}
	switch op {
	case 0x00, 0x01, 0x08, 0x09, 0x20, 0x21, 0x28, 0x29, 0x30, 0x31, 0x86, 0x87, 0x88, 0x89, 0xc6, 0xc7:
		return true
	case 0x80, 0x81, 0x83:
		return reg != 7
	}
	return false
}

// decodeX86 reads one instruction of 64-bit code; false for what is none.
func decodeX86(raw []byte) (in x86inst, ok bool) {
	at, rex, word, short, segment, repeat := 0, byte(0), 4, false, false, byte(0)
prefixes:
	for {
		if at >= len(raw) || at > 13 {
			return in, false
		}
		switch b := raw[at]; {
		case b == 0x66:
			word = 2
		case b == 0x67:
			short = true
		case b == 0xf2, b == 0xf3:
			repeat = b
		case b == 0x64, b == 0x65:
			segment = true
		case b == 0xf0, b == 0x2e, b == 0x36, b == 0x3e, b == 0x26:
		case b&0xf0 == 0x40:
			rex = b
			if at+1 < len(raw) && raw[at+1]&0xf0 == 0x40 {
				return in, false
			}
		default:
			break prefixes
		}
		at++
	}
	if rex&8 != 0 {
		word = 4
	}
	op, flags, escape, immediate := raw[at], uint8(0), false, 0
	at++
	byteAt := func(i int) byte {
		if i < len(raw) {
			return raw[i]
		}
		return 0
	}
	packed := func(kind, op byte) { // what VEX, EVEX and XOP have in common
		switch {
		case kind == 1 && (op >= 0x70 && op <= 0x73 || op == 0xc2 || op >= 0xc4 && op <= 0xc6), kind == 3, kind == 8:
			immediate = 1
		case kind == 10:
			immediate = 4
		}
	}
	switch {
	case op == 0xc5:
		op = byteAt(at + 1)
		at += 2
		packed(1, op)
		in.needs, escape = 3, true
		if op == 0x77 {
			flags = noModRM
		}
	case op == 0xc4:
		kind := byteAt(at) & 0x1f
		op = byteAt(at + 2)
		at += 3
		if kind < 1 || kind > 3 {
			return in, false
		}
		packed(kind, op)
		in.needs, escape = 3, true
		if kind == 1 && op == 0x77 {
			flags = noModRM
		}
	case op == 0x62:
		kind := byteAt(at) & 7
		if kind == 0 || byteAt(at)&8 != 0 || byteAt(at+1)&4 == 0 {
			return in, false
		}
		op = byteAt(at + 3)
		at += 4
		packed(kind, op)
		in.needs, escape = 4, true
	case op == 0x8f && byteAt(at)&0x1f >= 8:
		kind := byteAt(at) & 0x1f
		op = byteAt(at + 2)
		at += 3
		if kind > 10 {
			return in, false
		}
		packed(kind, op)
		in.needs, escape = 3, true
	case op == 0x0f:
		op = byteAt(at)
		at++
		escape = true
		switch op {
		case 0x38:
			third := byteAt(at)
			at++
			if third == 0xf0 || third == 0xf1 {
				if repeat != 0xf2 {
					in.needs = 3 // MOVBE
				}
			}
		case 0x3a:
			at++
			immediate = 1
		default:
			flags = twoByte[op]
		}
		switch {
		case op == 0xa2:
			in.cpuid = true
		case op == 0x01 && byteAt(at) == 0xd0: // XGETBV
			in.cpuid = true
		case op == 0x0b:
			in.stop = true
		case op >= 0x80 && op <= 0x8f:
			in.jump, in.conditional = true, true
		}
		if op >= 0x80 && op <= 0x8f {
			word = 4
		}
	default:
		flags = oneByte[op]
		switch {
		case op >= 0xb8 && op <= 0xbf && rex&8 != 0:
			immediate, flags = 8, noModRM
		case op >= 0xa0 && op <= 0xa3:
			immediate = 8
			if short {
				immediate = 4
			}
		case op == 0xc2, op == 0xca:
			immediate, in.stop = 2, true
		case op == 0xc8:
			immediate = 3
		case op == 0xc3, op == 0xcb, op == 0xcf, op == 0xf4:
			in.stop = true
		case op == 0xe8:
			in.call, word = true, 4
		case op == 0xe9, op == 0xeb:
			in.jump, in.stop, word = true, true, 4
		case op >= 0x70 && op <= 0x7f, op >= 0xe0 && op <= 0xe3:
			in.jump, in.conditional = true, true
		case op == 0xf6 && byteAt(at)&0x38 <= 8:
			immediate = 1
		case op == 0xf7 && byteAt(at)&0x38 <= 8:
			immediate = word
		case op == 0xff && byteAt(at)>>3&7 == 2:
			in.through = true
		case op == 0xff && byteAt(at)>>3&7 >= 4 && byteAt(at)>>3&7 <= 5:
			in.stop, in.through = true, true // an indirect jump
		case op == 0x8d:
			in.lea = true
		}
	}
	if flags&bad86 != 0 {
		return in, false
	}
	if flags&imm8 != 0 {
		immediate = 1
	}
	if flags&immZ != 0 {
		immediate = word
	}
	displacement, size := -1, 0
	if flags&noModRM == 0 {
		if at >= len(raw) {
			return in, false
		}
		modrm := raw[at]
		at++
		mod, rm := modrm>>6, modrm&7
		in.store = storing(escape, op, modrm>>3&7)
		if mod != 3 {
			sib := byte(0)
			if rm == 4 {
				sib = byteAt(at)
				at++
			}
			switch {
			case mod == 1:
				size = 1
			case mod == 2:
				size = 4
			case rm == 5:
				size, in.relative, displacement = 4, true, at
			case rm == 4 && sib&7 == 5:
				size = 4
				if sib == 0x25 {
					in.direct, displacement = true, at
				}
			}
		}
	}
	in.size = at + size + immediate
	if in.size > len(raw) || in.size > 15 {
		return in, false
	}
	if segment { // of a thread
		in.relative, in.direct, displacement = false, false, -1
	}
	if displacement >= 0 {
		in.memory = int64(int32(binary.LittleEndian.Uint32(raw[displacement:])))
	}
	if !escape && immediate == 4 && (op == 0xc7 || op >= 0xb8 && op <= 0xbf || op == 0x68) {
		in.value = binary.LittleEndian.Uint32(raw[in.size-4:])
	}
	if in.call || in.jump {
		if immediate == 1 {
			in.target = int64(int8(raw[in.size-1]))
		} else {
			in.target = int64(int32(binary.LittleEndian.Uint32(raw[in.size-4:])))
		}
	}
	return in, true
}
