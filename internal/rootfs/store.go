package rootfs

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// storeVersion changes whenever the same layer would be remembered otherwise,
// so that what an older version of the checks learnt is not used.
const storeVersion = "v3"

// Bounds of the cache on disk, in bytes. It is brought below the lower one
// when it exceeds the upper.
const (
	cacheMost  = 256 << 20
	cacheLeast = 192 << 20
)

// Store keeps what was learnt of layers in files named after their digests.
// Several processes may use one: files appear whole or not at all.
type Store struct {
	dir       string
	temporary bool

	// unverified are the files of layers that were not read to their end, and
	// so may be another's: they end with the audit.
	mu         sync.Mutex
	unverified map[digest.Digest]string
}

// Dir is where the store keeps its files.
func (s *Store) Dir() string { return s.dir }

// OpenStore makes the directory; "" means one that ends with the audit.
func OpenStore(dir string) (*Store, error) {
	if dir == "" {
		made, err := os.MkdirTemp("", "archmage-audit-")
		if err != nil {
			return nil, fmt.Errorf("making a directory for the audit: %w", err)
		}
		return &Store{dir: made, temporary: true}, nil
	}
	dir = filepath.Join(dir, storeVersion)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the audit's cache %q: %w", dir, err)
	}
	return &Store{dir: dir}, nil
}

func (s *Store) Close() {
	for _, path := range s.unverified {
		_ = os.Remove(path)
	}
	if s.temporary {
		_ = os.RemoveAll(s.dir)
		return
	}
	s.prune(cacheMost, cacheLeast)
}

func (s *Store) path(d digest.Digest) string {
	return filepath.Join(s.dir, d.Algorithm().String()+"-"+d.Encoded())
}

// Has tells whether a layer is known, and marks it as used.
func (s *Store) Has(d digest.Digest) bool {
	now := time.Now()
	return os.Chtimes(s.path(d), now, now) == nil
}

// record is one item of a File: all entries of a layer, and then its facts.
type record struct {
	Entry *Entry
	Facts *Facts
}

// Learn scans a layer and keeps what it learns. It returns how many bytes of
// the layer were read; an error that wraps ErrSource is of body.
func (s *Store) Learn(ctx context.Context, d digest.Digest, body io.Reader, inspect *Inspector) (read int64, err error) {
	counted := &bytesIn{ctx: ctx, r: body}
	err = s.learn(ctx, d, counted, inspect)
	return counted.n, err
}

func (s *Store) learn(ctx context.Context, d digest.Digest, body io.Reader, inspect *Inspector) (err error) {
	part, err := os.CreateTemp(s.dir, "part-*")
	if err != nil {
		return fmt.Errorf("writing the audit's cache: %w", err)
	}
	defer func() {
		_ = part.Close()
		if err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	z, err := zstd.NewWriter(part, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return err
	}
	enc := gob.NewEncoder(z)
	learnt, err := scan(ctx, body, inspect, func(e Entry) error { return enc.Encode(record{Entry: &e}) })
	if err != nil {
		return err
	}
	if err := enc.Encode(record{Facts: &learnt}); err != nil {
		return fmt.Errorf("writing the audit's cache: %w", err)
	}
	if err := errors.Join(z.Close(), part.Close()); err != nil {
		return fmt.Errorf("writing the audit's cache: %w", err)
	}
	if learnt.Limit != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unverified == nil {
			s.unverified = map[digest.Digest]string{}
		}
		s.unverified[d] = part.Name()
		return nil
	}
	if err := os.Rename(part.Name(), s.path(d)); err != nil {
		return fmt.Errorf("writing the audit's cache: %w", err)
	}
	return nil
}

// Read passes the entries of a known layer to each and returns its facts.
func (s *Store) Read(d digest.Digest, each func(Entry) error) (Facts, error) {
	s.mu.Lock()
	path, ok := s.unverified[d]
	s.mu.Unlock()
	if !ok {
		path = s.path(d)
	}
	f, err := os.Open(path)
	if err != nil {
		return Facts{}, err
	}
	defer func() { _ = f.Close() }()
	z, err := zstd.NewReader(bufio.NewReader(f), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return Facts{}, err
	}
	defer z.Close()
	for dec := gob.NewDecoder(z); ; {
		var r record
		if err := dec.Decode(&r); err != nil {
			return Facts{}, fmt.Errorf("reading the audit's cache %q: %w", f.Name(), err)
		}
		if r.Facts != nil {
			return *r.Facts, nil
		}
		if r.Entry == nil {
			return Facts{}, fmt.Errorf("reading the audit's cache %q: it is damaged", f.Name())
		}
		if err := each(*r.Entry); err != nil {
			return Facts{}, err
		}
	}
}

// Forget removes what is known of a layer.
func (s *Store) Forget(d digest.Digest) { _ = os.Remove(s.path(d)) }

// prune removes what was not used for longest when all together exceeds most
// bytes, and what killed processes left.
func (s *Store) prune(most, least int64) {
	type known struct {
		path string
		size int64
		used time.Time
	}
	var all []known
	var total int64
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // nothing to remove, then
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process removed it
		}
		path := filepath.Join(s.dir, e.Name())
		if strings.HasPrefix(e.Name(), "part-") || strings.HasPrefix(e.Name(), "elf-") {
			if time.Since(info.ModTime()) > 24*time.Hour {
				_ = os.Remove(path)
			}
			continue
		}
		all = append(all, known{path, info.Size(), info.ModTime()})
		total += info.Size()
	}
	if total <= most {
		return
	}
	slices.SortFunc(all, func(a, b known) int { return a.used.Compare(b.used) })
	for _, k := range all {
		if total <= least {
			return
		}
		if os.Remove(k.path) == nil {
			total -= k.size
		}
	}
}
