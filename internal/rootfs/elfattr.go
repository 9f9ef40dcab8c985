package rootfs

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// armArchitecture reads Tag_CPU_arch from a .ARM.attributes section: the
// version of the architecture, 4 to 9, or 0 if it is not stated, and whether
// it is that of a microcontroller.
// https://github.com/ARM-software/abi-aa/blob/main/addenda32/addenda32.rst
func armArchitecture(raw []byte, order binary.ByteOrder) (version int, micro bool) {
	const tagFile, tagCPUArch = 1, 6
	if len(raw) < 1 || raw[0] != 'A' {
		return 0, false
	}
	for vendors := raw[1:]; len(vendors) >= 4; {
		length := uint64(order.Uint32(vendors))
		if length < 4 || length > uint64(len(vendors)) {
			return 0, false
		}
		vendor, parts, ok := bytes.Cut(vendors[4:length], []byte{0})
		vendors = vendors[length:]
		if !ok || string(vendor) != "aeabi" {
			continue
		}
		for len(parts) > 0 {
			tag, rest := uleb(parts)
			if len(rest) < 4 {
				return 0, false
			}
			size := uint64(order.Uint32(rest))
			if size < uint64(len(parts)-len(rest)+4) || size > uint64(len(parts)) {
				return 0, false
			}
			attributes := parts[len(parts)-len(rest)+4 : size]
			parts = parts[size:]
			if tag != tagFile {
				continue
			}
			for len(attributes) > 0 {
				var tag, value uint64
				tag, attributes = uleb(attributes)
				switch {
				case tag == 32: // Tag_compatibility: a number and a string
					_, attributes = uleb(attributes)
					_, attributes, _ = bytes.Cut(attributes, []byte{0})
				case tag == 4, tag == 5, tag > 32 && tag%2 == 1:
					_, attributes, _ = bytes.Cut(attributes, []byte{0})
				default:
					value, attributes = uleb(attributes)
					if tag == tagCPUArch {
						return armVersion(value)
					}
				}
			}
		}
	}
	return 0, false
}

// armVersion maps the values of Tag_CPU_arch.
func armVersion(value uint64) (version int, micro bool) {
	switch value {
	case 1, 2:
		return 4, false
	case 3, 4, 5:
		return 5, false
	case 6, 7, 8, 9: // v6, v6KZ, v6T2, v6K
		return 6, false
	case 10:
		return 7, false
	case 11, 12:
		return 6, true
	case 13:
		return 7, true
	case 14, 15:
		return 8, false
	case 16, 17, 21:
		return 8, true
	case 22:
		return 9, false
	}
	return 0, false
}

// uleb reads a number in LEB128 and returns what comes after it.
func uleb(raw []byte) (value uint64, rest []byte) {
	for i, b := range raw {
		if i < 9 {
			value |= uint64(b&0x7f) << (7 * i)
		}
		if b&0x80 == 0 {
			return value, raw[i+1:]
		}
	}
	return value, nil
}

// x86Level reads the micro-architecture level that ELF notes say is needed, 1
// to 4, or 0 if they do not say.
// https://gitlab.com/x86-psABIs/x86-64-ABI
func x86Level(notes []byte, is64 bool) int {
	const noteProperty, isaNeeded = 5, 0xc0008002
	align := uint64(4)
	if is64 {
		align = 8
	}
	order := binary.LittleEndian
	for len(notes) >= 12 {
		nameSize, descSize, typ := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:])), order.Uint32(notes[8:])
		// Names are padded to 4 bytes, and so are all but property notes.
		descAt := 12 + (nameSize+3)&^3
		if descAt > uint64(len(notes)) || descSize > uint64(len(notes))-descAt {
			return 0
		}
		name, desc := notes[12:12+nameSize], notes[descAt:descAt+descSize]
		if typ == noteProperty && string(name) == "GNU\x00" {
			for len(desc) >= 8 {
				kind, size := order.Uint32(desc), uint64(order.Uint32(desc[4:]))
				if 8+size > uint64(len(desc)) {
					break
				}
				if kind == isaNeeded && size == 4 {
					return bits.Len32(order.Uint32(desc[8:]) & 0xf)
				}
				desc = desc[min(uint64(len(desc)), 8+(size+align-1)&^(align-1)):]
			}
		}
		next := descAt + (descSize+3)&^3
		notes = notes[min(next, uint64(len(notes))):]
	}
	return 0
}
