package rootfs

import (
	"io/fs"

	"github.com/opencontainers/go-digest"
)

// Kind is what an entry of a layer is.
type Kind uint8

const (
	KindFile Kind = iota
	KindDir
	KindSymlink
	KindHardlink
	KindOther // devices, pipes
)

// Entry is one entry of a layer, as the audit remembers it.
type Entry struct {
	// Path is cleaned and has no slash in front: "usr/bin/hello".
	Path string
	Kind Kind
	Mode fs.FileMode // permissions, setuid and setgid
	Link string
	File *File // nil for files of no interest
}

// Format is what the bytes of a file are.
type Format string

// The formats that are told apart.
const (
	FormatELF    Format = "ELF"
	FormatMachO  Format = "Mach-O"
	FormatPE     Format = "PE"
	FormatScript Format = "script"
	FormatWasm   Format = "WebAssembly"
	FormatOther  Format = "" // remembered for another reason
)

// File is what the audit remembers of a file's bytes.
type File struct {
	Format Format
	ELF    *ELF
	// Machine is what Mach-O and PE files are for, as Go names it.
	Machine string
	// Library says that a PE file is a DLL, which .NET runs anywhere.
	Library bool
	// Shebang is the first line of a script without "#!".
	Shebang string
	// Users are the names in a file that is called passwd.
	Users []string
	// Secret says what it seems to hold: "a private key".
	Secret string
}

// String says what the file is.
func (f *File) String() string {
	switch f.Format {
	case FormatELF:
		return f.ELF.String()
	case FormatMachO, FormatPE:
		return string(f.Format) + " " + f.Machine
	case FormatScript:
		return "script of " + f.Shebang
	}
	return string(f.Format)
}

// Facts are what was learnt of a layer as a whole.
type Facts struct {
	// Size and Unpacked are in bytes, DiffID is the digest of the latter.
	Size, Unpacked int64
	DiffID         digest.Digest
	// Compression is gzip, zstd or none.
	Compression string
	// Broken says why it cannot be unpacked to its end, Limit why that was
	// given up. Entries up to there count.
	Broken, Limit string
	// Escapes are paths that leave the image.
	Escapes []string
}
