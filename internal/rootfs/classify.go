package rootfs

import (
	"bytes"
	"context"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sync/semaphore"
)

// Sizes of files, in bytes.
const (
	headSize = 4 << 10
	inMemory = 4 << 20
	// A larger ELF file is judged by its first bytes alone.
	maxSpooled = 1 << 30
	memoryAll  = 96 << 20
)

// budget bounds the memory of all scans of the process together.
var budget = semaphore.NewWeighted(memoryAll)

// Inspector looks into files.
type Inspector struct {
	dir     string // for files too large for memory
	free    int64  // bytes that a layer may grow to whatever its size
	entries int    // that one layer may have
}

func NewInspector(dir string) *Inspector {
	return &Inspector{dir: dir, free: freeRatio, entries: maxEntries}
}

// memory waits for n bytes and returns the function that gives them back.
func (i *Inspector) memory(ctx context.Context, n int64) (func(), error) {
	n = min(n, memoryAll)
	if err := budget.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { budget.Release(n) }, nil
}

// file reads what matters of one file of size bytes. It returns nil for files
// of no interest, and an error of reading only.
// texts is how many bytes of text may still be kept of the layer.
func (i *Inspector) file(r io.Reader, size int64, name string, texts *int) (*File, error) {
	head := make([]byte, min(size, 64))
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, unexpected(err)
	}
	more := func(n int64) ([]byte, error) { // the first n bytes
		n = min(n, size)
		all := make([]byte, n)
		copy(all, head)
		if n <= int64(len(head)) {
			return all, nil
		}
		_, err := io.ReadFull(r, all[len(head):])
		return all, unexpected(err)
	}
	base := path.Base(name)
	switch {
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return i.elf(io.MultiReader(bytes.NewReader(head), r), size)
	case bytes.HasPrefix(head, []byte("#!")):
		raw, err := more(256)
		if err != nil {
			return nil, err
		}
		line, _, _ := strings.Cut(string(raw[2:]), "\n")
		f := &File{Format: FormatScript, Shebang: strings.Trim(line, " \t")}
		if isShell(f.Shebang) {
			return f, f.keep(raw, r, size, texts)
		}
		return f, f.mention(raw, r, size, texts)
	case bytes.HasPrefix(head, []byte("MZ")):
		raw, err := more(headSize)
		if err != nil {
			return nil, err
		}
		return portable(raw), nil
	case bytes.HasPrefix(head, []byte("\x00asm")):
		return &File{Format: FormatWasm}, nil
	case bytes.HasPrefix(head, []byte("-----BEGIN ")):
		line, _, _ := bytes.Cut(head, []byte("\n"))
		if bytes.Contains(line, []byte("PRIVATE KEY")) {
			return &File{Secret: "a private key"}, nil
		}
		return nil, nil
	case base == "ld.so.cache" && size <= maxTable:
		raw, err := more(size)
		if err != nil {
			return nil, err
		}
		return &File{Libraries: loaderCache(raw)}, nil
	case isConfig(name):
		f := &File{}
		return f, f.keep(head, r, size, texts)
	case mentions(name) && tellTale(name) == "":
		f := &File{}
		if err := f.mention(head, r, size, texts); err != nil || len(f.Mentions)+len(f.Text) == 0 {
			return nil, err
		}
		return f, nil
	case tellTale(name) != "":
		raw, err := more(64 << 10)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(raw, []byte(tellTale(name))) {
			return &File{Secret: "credentials"}, nil
		}
		return nil, nil
	}
	return machO(head), nil
}

// tellTale is the text that betrays credentials in a file of that name, or "".
func tellTale(name string) string {
	switch path.Base(name) {
	case ".npmrc":
		return "_authToken="
	case ".git-credentials":
		return "://"
	case ".netrc":
		return "password"
	case ".pypirc":
		return "password"
	case "credentials":
		if path.Base(path.Dir(name)) == ".aws" {
			return "aws_secret_access_key"
		}
	case "config.json":
		if path.Base(path.Dir(name)) == ".docker" {
			return `"auth":`
		}
	}
	return ""
}

// elf reads an ELF file, whose parts refer to each other in both directions,
// from a stream.
func (i *Inspector) elf(r io.Reader, size int64) (*File, error) {
	head := make([]byte, min(size, inMemory))
	if size > inMemory {
		head = head[:headSize]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, unexpected(err)
	}
	info, err := readELF(bytes.NewReader(head), int64(len(head)))
	if err != nil {
		return nil, nil // it only begins like one
	}
	f := &File{Format: FormatELF, ELF: info}
	if int64(len(head)) == size || info.Type != elf.ET_EXEC && info.Type != elf.ET_DYN {
		return f, nil
	}
	if size > maxSpooled {
		info.Partial = "it is too large to be read whole"
		return f, nil
	}
	spool, err := os.CreateTemp(i.dir, "elf-*")
	if err != nil {
		return nil, keepError{fmt.Errorf("keeping a large program of an image: %w", err)}
	}
	defer func() {
		_ = spool.Close()
		_ = os.Remove(spool.Name())
	}()
	if _, err := io.Copy(spool, io.MultiReader(bytes.NewReader(head), r)); err != nil {
		return nil, unexpected(err)
	}
	if whole, err := readELF(spool, size); err == nil {
		f.ELF = whole
	}
	return f, nil
}

// portable reads a PE file by its first bytes; DOS programs are of no
// interest. https://learn.microsoft.com/windows/win32/debug/pe-format
func portable(raw []byte) *File {
	if len(raw) < 64 {
		return nil
	}
	at := int64(binary.LittleEndian.Uint32(raw[60:]))
	if at+24 > int64(len(raw)) || string(raw[at:at+4]) != "PE\x00\x00" {
		return nil
	}
	f := &File{Format: FormatPE, Library: binary.LittleEndian.Uint16(raw[at+22:])&pe.IMAGE_FILE_DLL != 0}
	if optional := raw[at+24:]; len(optional) >= 70 {
		subsystem := binary.LittleEndian.Uint16(optional[68:])
		f.EFI = subsystem >= pe.IMAGE_SUBSYSTEM_EFI_APPLICATION && subsystem <= pe.IMAGE_SUBSYSTEM_EFI_ROM
		directories := 96 // of PE32
		if binary.LittleEndian.Uint16(optional) == 0x20b {
			directories = 112 // of PE32+
		}
		if clr := directories + 8*pe.IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR; len(optional) >= clr+8 {
			f.Managed = binary.LittleEndian.Uint32(optional[clr:]) != 0
		}
	}
	switch machine := binary.LittleEndian.Uint16(raw[at+4:]); machine {
	case pe.IMAGE_FILE_MACHINE_AMD64:
		f.Machine = "amd64"
	case pe.IMAGE_FILE_MACHINE_I386:
		f.Machine = "386"
	case pe.IMAGE_FILE_MACHINE_ARM64:
		f.Machine = "arm64"
	case pe.IMAGE_FILE_MACHINE_ARMNT, pe.IMAGE_FILE_MACHINE_ARM:
		f.Machine = "arm"
	default:
		f.Machine = fmt.Sprintf("machine 0x%x", machine)
	}
	return f
}

// machO reads the header of a Mach-O file, nil if it is none.
func machO(head []byte) *File {
	if len(head) < 16 {
		return nil
	}
	little, big := binary.LittleEndian.Uint32(head), binary.BigEndian.Uint32(head)
	var cpu uint32
	switch {
	case little == macho.Magic32, little == macho.Magic64:
		cpu = binary.LittleEndian.Uint32(head[4:])
	case big == macho.Magic32, big == macho.Magic64:
		cpu = binary.BigEndian.Uint32(head[4:])
	case big == macho.MagicFat && binary.BigEndian.Uint32(head[4:]) < 40:
		// Java classes begin with the same number; theirs goes on with a
		// version, which is greater.
		return &File{Format: FormatMachO, Machine: "universal"}
	default:
		return nil
	}
	f := &File{Format: FormatMachO}
	switch macho.Cpu(cpu) {
	case macho.CpuAmd64:
		f.Machine = "amd64"
	case macho.CpuArm64:
		f.Machine = "arm64"
	case macho.Cpu386:
		f.Machine = "386"
	default:
		f.Machine = macho.Cpu(cpu).String()
	}
	return f
}

// unexpected makes the end of a stream within a file what it is.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // io.ReadFull returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}
