package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/moby/sys/atomicwriter"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// store is an OCI image layout directory.
//
// It always holds the index of each target, its manifests and their configs,
// which is all that inspecting and promoting need; layers stay in the registry
// they were built into, so a draft costs kilobytes. Blobs are written before
// what names them and index.json is exchanged whole, so a crash leaves the old
// draft or the new one.
type store struct{ dir string }

const lockName = ".lock"

func (s store) blobPath(d digest.Digest) string {
	return filepath.Join(s.dir, ocispecs.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func (s store) indexPath() string { return filepath.Join(s.dir, ocispecs.ImageIndexFile) }

// blob reads a blob and verifies it.
func (s store) blob(d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, s.damaged("a digest", err)
	}
	raw, err := os.ReadFile(s.blobPath(d))
	if err != nil {
		return nil, s.damaged("a blob", err)
	}
	if d.Algorithm().FromBytes(raw) != d {
		return nil, s.damaged(s.blobPath(d), errors.New("its bytes do not fit its digest"))
	}
	return raw, nil
}

// put writes a blob under its sha256 digest, or leaves it if it is there and
// sound.
func (s store) put(raw []byte) error {
	d := digest.FromBytes(raw)
	if err := os.MkdirAll(filepath.Dir(s.blobPath(d)), 0o750); err != nil {
		return s.unwritable(err)
	}
	return s.write(s.blobPath(d), raw)
}

// load reads index.json. A layout that does not exist is an empty one.
func (s store) load() (ocispecs.Index, error) {
	raw, err := os.ReadFile(s.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return newIndex(ocispecs.MediaTypeImageIndex), nil
	}
	if err != nil {
		return ocispecs.Index{}, fmt.Errorf("reading the layout: %w", err)
	}
	var top ocispecs.Index
	if err := json.Unmarshal(raw, &top); err != nil {
		return ocispecs.Index{}, s.damaged(s.indexPath(), err)
	}
	return top, nil
}

// commit writes blobs, makes desc the one of its ref.name in index.json, in
// the place of the one before, and removes the blobs that nothing names any
// longer. All of it is under one lock, or another process that commits would
// remove blobs that are not named yet.
func (s store) commit(desc ocispecs.Descriptor, blobs [][]byte) error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return s.unwritable(err)
	}
	lock := flock.New(filepath.Join(s.dir, lockName))
	if err := lock.Lock(); err != nil {
		return s.unwritable(fmt.Errorf("locking it: %w", err))
	}
	defer func() { _ = lock.Close() }()
	s.sweep()

	for _, raw := range blobs {
		if err := s.put(raw); err != nil {
			return err
		}
	}
	top, err := s.load()
	if err != nil {
		return err
	}
	name, replaced := desc.Annotations[ocispecs.AnnotationRefName], false
	kept := top.Manifests[:0]
	for _, have := range top.Manifests {
		switch {
		case have.Annotations[ocispecs.AnnotationRefName] != name:
			kept = append(kept, have)
		case !replaced:
			kept, replaced = append(kept, desc), true
		}
	}
	if !replaced {
		kept = append(kept, desc)
	}
	top.Versioned = specs.Versioned{SchemaVersion: 2}
	top.MediaType = ocispecs.MediaTypeImageIndex
	top.Manifests = kept
	raw, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the layout's index: %w", err)
	}
	marker, err := json.Marshal(ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion})
	if err != nil {
		return fmt.Errorf("encoding the layout's version: %w", err)
	}
	if err := s.write(filepath.Join(s.dir, ocispecs.ImageLayoutFile), marker); err != nil {
		return err
	}
	if err := s.write(s.indexPath(), raw); err != nil {
		return err
	}
	s.prune(top)
	return nil
}

// write exchanges a file whole, or leaves it if it has those bytes already.
func (s store) write(path string, raw []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, raw) {
		return nil
	}
	if err := atomicwriter.WriteFile(path, raw, 0o644); err != nil {
		return s.unwritable(err)
	}
	return nil
}

func (s store) damaged(what string, err error) error {
	return fmt.Errorf("reading the layout %q: %s: %w; remove the directory and run assemble again", s.dir, what, err)
}

func (s store) unwritable(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("writing the layout %q: the disk is full: %w; make room and run the same command again", s.dir, err)
	}
	return fmt.Errorf("writing the layout %q: %w", s.dir, err)
}
