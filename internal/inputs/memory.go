package inputs

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/sys/atomicwriter"
	"github.com/opencontainers/go-digest"
)

// memory is a directory of what is known from earlier releases. Nothing in it is
// needed: what is lost costs a question, a transfer or an explanation.
type memory struct{ dir string }

func (m memory) path(kind, key string) string {
	return filepath.Join(m.dir, kind+"-"+digest.FromString(key).Encoded()[:32])
}

func (m memory) read(kind, key string) []byte {
	if m.dir == "" {
		return nil
	}
	raw, err := os.ReadFile(m.path(kind, key))
	if err != nil {
		return nil
	}
	return raw
}

func (m memory) write(kind, key string, raw []byte) error {
	if m.dir == "" {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	return atomicwriter.WriteFile(m.path(kind, key), raw, 0o600)
}

// config returns the configuration of an image, which its digest names.
func (m memory) config(key string) []byte {
	raw := m.read("config", key)
	if len(raw) <= sha256.Size {
		return nil
	}
	sum := sha256.Sum256(raw[sha256.Size:])
	if !bytes.Equal(sum[:], raw[:sha256.Size]) {
		return nil
	}
	return raw[sha256.Size:]
}

// maxConfigs is how many configurations are kept.
const maxConfigs = 200

func (m memory) keepConfig(key string, config []byte) {
	sum := sha256.Sum256(config)
	_ = m.write("config", key, append(sum[:], config...)) // it is asked for again
	found, err := filepath.Glob(filepath.Join(m.dir, "config-*"))
	if err != nil || len(found) <= maxConfigs {
		return
	}
	times := map[string]time.Time{}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil {
			times[path] = info.ModTime()
		}
	}
	slices.SortFunc(found, func(a, b string) int { return times[a].Compare(times[b]) })
	for _, path := range found[:len(found)-maxConfigs] {
		_ = os.Remove(path) // it is asked for again
	}
}

// accurate is how well the time is known at which a base image was last seen.
const accurate = time.Minute

// base returns what a reference was when its registry last answered.
func (m memory) base(ref string) (OldBase, bool) {
	var was OldBase
	if json.Unmarshal(m.read("base", ref), &was) != nil || was.Ref != ref || was.Digest.Validate() != nil {
		return OldBase{}, false
	}
	return was, true
}

func (m memory) keepBase(ref string, d digest.Digest) {
	now := time.Now()
	if was, ok := m.base(ref); ok && was.Digest == d && now.Sub(was.Seen) < accurate && now.After(was.Seen) {
		return
	}
	raw, err := json.Marshal(OldBase{Ref: ref, Digest: d, Seen: now.UTC()})
	if err == nil {
		_ = m.write("base", ref, raw) // it is asked for again
	}
}

// remembered is the inputs of a build that was made.
type remembered struct {
	Digest string            `json:"digest"`
	Parts  map[string]string `json:"parts"`
}

// Remember keeps the inputs of a build, by its name, so that a later release can
// say what has changed since.
func (r *Reader) Remember(build string, in *Inputs) error {
	raw, err := json.Marshal(remembered{in.Digest, in.Parts})
	if err != nil {
		return fmt.Errorf("encoding the inputs of %s: %w", build, err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err = z.Write(raw); err == nil {
		err = z.Close()
	}
	if err == nil {
		err = r.memory.write("build", build, packed.Bytes())
	}
	if err != nil {
		return fmt.Errorf("keeping the inputs of %s: %w", build, err)
	}
	return nil
}

// Recall returns the parts of the inputs of that digest that a build was made
// from, nil if they are forgotten.
func (r *Reader) Recall(build, digest string) map[string]string {
	z, err := gzip.NewReader(bytes.NewReader(r.memory.read("build", build)))
	if err != nil {
		return nil
	}
	var was remembered
	if json.NewDecoder(z).Decode(&was) != nil || was.Digest != digest {
		return nil
	}
	return was.Parts
}

// sentFiles is what daemons were sent of one directory under one shared key.
// BuildKit's transfer takes a file of the same size, mode and time for the one it
// has. Where that would be wrong the key is changed, so that all files are sent.
type sentFiles struct {
	salt  [16]byte
	known map[uint64]uint64 // path, size, mode and time → content
}

// maxSent bounds what is remembered of a directory, in files.
const maxSent = 1 << 20

// key returns what to add to the shared key of a directory before these listings
// of it are sent. It is written down first: a process that is killed has sent
// nothing that is not remembered.
func (r *Reader) key(dir string, listings []*listing) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sent[dir]
	if s == nil {
		s = r.memory.sent(dir)
		r.sent[dir] = s
	}
	fresh := map[uint64]uint64{}
	conflict := false
	for _, l := range listings {
		for path, st := range l.stats {
			k, v := hash64(path, fmt.Sprint(st.size, st.mtime, st.mode)), hash64(st.content)
			for _, known := range []map[uint64]uint64{s.known, fresh} {
				if was, ok := known[k]; ok && was != v {
					conflict = true
				}
			}
			fresh[k] = v
		}
	}
	added := 0
	for k := range fresh {
		if _, ok := s.known[k]; !ok {
			added++
		}
	}
	if conflict || len(s.known)+added > maxSent {
		s = newSent()
		r.sent[dir] = s
		added = len(fresh)
	}
	if added > 0 {
		for k, v := range fresh {
			s.known[k] = v
		}
		if err := r.memory.keepSent(dir, s); err != nil {
			return "", fmt.Errorf("keeping what is sent of %s: %w", dir, err)
		}
	}
	return hex.EncodeToString(s.salt[:]), nil
}

func newSent() *sentFiles {
	s := &sentFiles{known: map[uint64]uint64{}}
	_, _ = rand.Read(s.salt[:]) // never fails
	return s
}

func (m memory) sent(dir string) *sentFiles {
	s := newSent()
	raw := m.read("sent", dir)
	if len(raw) < len(s.salt) || (len(raw)-len(s.salt))%16 != 0 {
		return s
	}
	copy(s.salt[:], raw)
	for rest := raw[len(s.salt):]; len(rest) > 0; rest = rest[16:] {
		s.known[binary.LittleEndian.Uint64(rest)] = binary.LittleEndian.Uint64(rest[8:])
	}
	return s
}

func (m memory) keepSent(dir string, s *sentFiles) error {
	raw := make([]byte, 0, len(s.salt)+16*len(s.known))
	raw = append(raw, s.salt[:]...)
	for k, v := range s.known {
		raw = binary.LittleEndian.AppendUint64(raw, k)
		raw = binary.LittleEndian.AppendUint64(raw, v)
	}
	return m.write("sent", dir, raw)
}

func hash64(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum64()
}
