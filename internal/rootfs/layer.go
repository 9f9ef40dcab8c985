package rootfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// Bounds of what is read of one layer.
const (
	maxEntries  = 500_000
	maxPath     = 4096
	maxUnpacked = 64 << 30
	// A layer that grows more than maxRatio times, beyond what is nothing to
	// worry about, is a bomb.
	maxRatio    = 200
	freeRatio   = 1 << 30
	maxWindow   = 64 << 20 // of zstd, which is kept in memory
	maxInterest = 100_000  // files of interest
	maxEscapes  = 10
	maxTexts    = 16 << 20 // of scripts and configuration files together
)

// ErrSource wraps what the source of a layer did wrong while it was read.
var ErrSource = errors.New("reading the layer")

// bytesIn counts what is read and remembers how that ended.
type bytesIn struct {
	ctx context.Context //nolint:containedctx // it lives as long as one scan, and io.Reader takes none
	r   io.Reader
	n   int64
	err error
}

func (b *bytesIn) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		b.err = err
		return 0, err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

// unpacked hashes and counts what comes out of a layer, and stops a bomb.
type unpacked struct {
	r    io.Reader
	in   *bytesIn
	sum  hash.Hash
	n    int64
	free int64 // bytes for which the ratio does not matter
	stop error
}

type limitError string

func (e limitError) Error() string { return string(e) }

func (u *unpacked) Read(p []byte) (int, error) {
	if u.stop != nil {
		return 0, u.stop
	}
	n, err := u.r.Read(p)
	u.n += int64(n)
	u.sum.Write(p[:n])
	switch {
	case u.n > maxUnpacked:
		u.stop = limitError(fmt.Sprintf("it unpacks to more than %d bytes", int64(maxUnpacked)))
	case u.n > u.free && u.n/maxRatio > u.in.n:
		u.stop = limitError(fmt.Sprintf("it unpacks to more than %d times its size", maxRatio))
	}
	if u.stop != nil {
		return n, u.stop
	}
	return n, err
}

// scan reads a layer once, from its first byte to its last, and passes its
// entries to keep. What is wrong with the layer is in the facts; an error is
// of the source, or of keep.
func scan(ctx context.Context, body io.Reader, inspect *Inspector, keep func(Entry) error) (Facts, error) {
	var f Facts
	in := &bytesIn{ctx: ctx, r: body}
	stop := func(err error) (Facts, error) {
		return f, fmt.Errorf("%w: %w", ErrSource, err)
	}
	buffered := bufio.NewReaderSize(in, 64<<10)
	content, done, err := decompress(ctx, buffered, inspect, &f)
	if err == nil {
		defer done()
		u := &unpacked{r: content, in: in, sum: sha256.New(), free: inspect.free}
		err = walk(u, inspect, &f, keep)
		if err == nil {
			_, err = io.Copy(io.Discard, u) // what follows the tar's end is part of the layer
		}
		f.Unpacked = u.n
		f.DiffID = digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(u.sum.Sum(nil)))
	}
	var limit limitError
	var ours keepError
	switch {
	case ctx.Err() != nil:
		return stop(ctx.Err())
	case errors.As(err, &ours):
		return f, ours.error
	case in.err != nil && !errors.Is(in.err, io.EOF):
		return stop(in.err)
	case errors.As(err, &limit):
		f.Limit = limit.Error()
		f.Size = -1 // not read to its end, and so not verified
		f.DiffID = ""
		return f, nil
	case err != nil:
		f.Broken = err.Error()
		f.DiffID = ""
	}
	// To the end, where the source verifies the digest.
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return stop(err)
	}
	f.Size = in.n
	return f, nil
}

// decompress tells the compression by the bytes, as runtimes do.
func decompress(ctx context.Context, r *bufio.Reader, inspect *Inspector, f *Facts) (io.Reader, func(), error) {
	magic, err := r.Peek(18)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		f.Compression = "gzip"
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { _ = z.Close() }, nil
	case IsZstd(magic):
		f.Compression = "zstd"
		var h zstd.Header
		window := uint64(8 << 20)
		if err := h.Decode(magic); err == nil && h.WindowSize > window {
			window = min(h.WindowSize, maxWindow)
		}
		release, err := inspect.memory(ctx, int64(window))
		if err != nil {
			return nil, nil, err
		}
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(2*maxWindow))
		if err != nil {
			release()
			return nil, nil, err
		}
		return z, func() { z.Close(); release() }, nil
	}
	f.Compression = "none"
	return r, func() {}, nil
}

// IsZstd knows a zstd frame and a skippable one, which zstd:chunked begins
// with. https://datatracker.ietf.org/doc/html/rfc8878#section-3
func IsZstd(magic []byte) bool {
	return bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18})
}

// keepError tells what keep returned from what reading did.
type keepError struct{ error }

// walk reads the entries of a tar stream.
func walk(r io.Reader, inspect *Inspector, f *Facts, keep func(Entry) error) error {
	reader := tar.NewReader(r)
	interest, texts := 0, maxTexts
	for n := 0; ; n++ {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		// Windows layers and those of odd tools hold names that the package
		// calls insecure; they are judged here.
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		if n >= inspect.entries {
			return limitError(fmt.Sprintf("it has more than %d entries", inspect.entries))
		}
		if len(h.Name) > maxPath || len(h.Linkname) > maxPath {
			return limitError(fmt.Sprintf("it has a path of more than %d bytes", maxPath))
		}
		e, ok := entryOf(h, f)
		if !ok {
			continue
		}
		if e.Kind == KindFile && h.Size > 0 {
			if e.File, err = inspect.file(reader, h.Size, e.Path, &texts); err != nil {
				return err
			}
			if e.File != nil && (e.File.Format != FormatOther || len(e.File.Mentions) == 0) {
				if interest++; interest > maxInterest {
					return limitError(fmt.Sprintf("it has more than %d programs", maxInterest))
				}
			}
		}
		if err := keep(e); err != nil {
			return keepError{err}
		}
	}
}

// entryOf returns what is remembered of a header, false for what is none of
// the file system's entries.
func entryOf(h *tar.Header, f *Facts) (Entry, bool) {
	name, inside := within(h.Name)
	if !inside && len(f.Escapes) < maxEscapes {
		f.Escapes = append(f.Escapes, h.Name)
	}
	if name == "" || !inside {
		return Entry{}, false
	}
	e := Entry{Path: name, Mode: fs.FileMode(h.Mode & 0o777), UID: h.Uid, GID: h.Gid}
	if h.Mode&0o4000 != 0 {
		e.Mode |= fs.ModeSetuid
	}
	if h.Mode&0o2000 != 0 {
		e.Mode |= fs.ModeSetgid
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		e.Kind = KindFile
	case tar.TypeDir:
		e.Kind = KindDir
	case tar.TypeSymlink:
		e.Kind, e.Link = KindSymlink, h.Linkname
	case tar.TypeLink:
		target, inside := within(h.Linkname)
		if !inside {
			if len(f.Escapes) < maxEscapes {
				f.Escapes = append(f.Escapes, h.Name+" → "+h.Linkname)
			}
			return Entry{}, false
		}
		e.Kind, e.Link = KindHardlink, target
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		e.Kind = KindOther
	default:
		return Entry{}, false
	}
	return e, true
}

// within cleans a path, and tells whether it stays in the directory it is
// unpacked to.
func within(name string) (string, bool) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", false
	}
	if clean == "." {
		return "", true
	}
	return clean, true
}
