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
	UID  int         // the owner
	GID  int
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

// File is what is remembered of a file's bytes.
type File struct {
	Format Format
	ELF    *ELF
	// Machine is what Mach-O and PE files are for, as Go names it.
	Machine string
	// Library reports whether a PE file is a DLL, Managed whether it is .NET
	// code, which runs on any machine, and EFI whether firmware starts it.
	Library, Managed, EFI bool
	// Shebang is the first line of a script without "#!".
	Shebang string
	// Text is what a shell script or one of the few configuration files that
	// matter says, at most MaxText bytes; Cut reports whether there is more.
	Text []byte
	Cut  bool
	// Mentions are paths that a text names which is not kept: a script in
	// another language than the shell's, a configuration file.
	Mentions []Mention
	// Libraries are the paths in a cache of the glibc loader.
	Libraries []string
	// Secret is what the file seems to hold: "a private key".
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
