package journal

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Dir is the name of the state directory.
const Dir = ".archmage"

// Store is the state directory of a workspace: its lock and its records. One
// value reads the directory once; who holds the lock is the only writer.
type Store struct {
	// Path is the state directory.
	Path string

	// Files writes and removes records. Tests put one there that fails at a
	// chosen moment, as a process does that is killed.
	Files Files

	ids    []string
	listed bool
}

// Files changes files whole or not at all.
type Files interface {
	Replace(path string, data []byte) error
	Remove(path string) error
}

// Open returns the store in a state directory, which need not exist.
func Open(path string) *Store {
	return &Store{Path: path, Files: disk{}}
}

// Make makes the state directory, which git shall not see: an untracked file
// would make the checkout dirty and the timestamps unusable.
func (s *Store) Make() error {
	if err := os.MkdirAll(s.Path, 0o755); err != nil {
		return stateError(err)
	}
	ignore := filepath.Join(s.Path, ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(ignore, []byte("*\n"), 0o644); err != nil {
			return stateError(err)
		}
	}
	return nil
}

// records is the directory of the records. They hold what programs printed on
// devices, so only their owner reads them.
func (s *Store) records() string { return filepath.Join(s.Path, "releases") }

func (s *Store) file(id string) string { return filepath.Join(s.records(), id+".json") }

const idTime = "20060102T150405Z"

// idForm is how a record is called: when it began, then six random digits.
var idForm = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$`)

// IDs are the names of all records, the oldest first.
func (s *Store) IDs() ([]string, error) {
	if s.listed {
		return s.ids, nil
	}
	entries, err := os.ReadDir(s.records())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, stateError(fmt.Errorf("reading the records: %w", err))
	}
	s.ids, s.listed = nil, true
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && idForm.MatchString(id) {
			s.ids = append(s.ids, id)
		}
	}
	return s.ids, nil
}

// Newest reads the newest record. Where there is none, the error is a
// NoRecordError.
func (s *Store) Newest() (*Record, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, &NoRecordError{Dir: s.Path, Want: "no build was recorded"}
	}
	return s.Read(ids[len(ids)-1])
}

// Find lists the records whose names begin with a prefix.
func (s *Store) Find(prefix string) ([]string, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, id := range ids {
		if strings.HasPrefix(id, prefix) {
			found = append(found, id)
		}
	}
	return found, nil
}

// Read reads one record. The error is a RecordError where the file is there and
// cannot be used.
func (s *Store) Read(id string) (*Record, error) {
	path := s.file(id)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &RecordError{Path: path, Err: err}
	}
	r := &Record{store: s}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, &RecordError{Path: path, Err: err}
	}
	if r.Schema > Schema {
		return nil, &RecordError{Path: path, Err: fmt.Errorf("it is of schema %d, and this archmage knows %d: a newer one wrote it", r.Schema, Schema)}
	}
	if r.ID != id {
		return nil, &RecordError{Path: path, Err: errors.New("it is no record of archmage's")}
	}
	return r, nil
}

// New gives a record its name, which sorts by time; nothing is written. A clock
// that was put back must not make it an old one, so it sorts behind every other.
func (s *Store) New(k Kind) (*Record, error) {
	var unique [3]byte
	if _, err := rand.Read(unique[:]); err != nil {
		return nil, fmt.Errorf("naming the release: %w", err)
	}
	now := time.Now().UTC()
	stamp := now.Truncate(time.Second) // the names hold no more
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		last, _, _ := strings.Cut(ids[len(ids)-1], "-")
		if t, err := time.Parse(idTime, last); err == nil && !stamp.After(t) {
			stamp = t.Add(time.Second)
		}
	}
	return &Record{
		Schema: Schema, Kind: k, Step: Building, Started: now.Truncate(time.Millisecond),
		ID: stamp.Format(idTime) + "-" + hex.EncodeToString(unique[:]), store: s,
	}, nil
}

// Behind names a record that was not saved yet so that it sorts behind another
// one, of another machine, whose clock may be ahead. A clock that is ahead by
// more than a day is wrong, and not followed.
func (s *Store) Behind(r *Record, id string) {
	at, _, _ := strings.Cut(id, "-")
	t, err := time.Parse(idTime, at)
	if err != nil || !r.Updated.IsZero() || r.ID > id || time.Until(t) > 24*time.Hour {
		return
	}
	_, unique, _ := strings.Cut(r.ID, "-")
	r.ID = t.Add(time.Second).Format(idTime) + "-" + unique
}

// All reads every record, the oldest first. Those that cannot be read are given
// to bad.
func (s *Store) All(bad func(id string, err error)) ([]*Record, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, id := range ids {
		r, err := s.Read(id)
		if err != nil {
			bad(id, err)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

func (s *Store) save(r *Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the record %q: %w", r.ID, err)
	}
	if err := os.MkdirAll(s.records(), 0o700); err != nil {
		return stateError(err)
	}
	if err := s.Files.Replace(s.file(r.ID), append(data, '\n')); err != nil {
		return stateError(err)
	}
	if s.listed && !slices.Contains(s.ids, r.ID) {
		s.ids = append(s.ids, r.ID)
	}
	return nil
}

// Remove removes a record of which nothing came.
func (s *Store) Remove(r *Record) error {
	s.ids = slices.DeleteFunc(s.ids, func(id string) bool { return id == r.ID })
	if err := s.Files.Remove(s.file(r.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return stateError(err)
	}
	return nil
}

// partial is how a record is named while it is written.
const partial = ".tmp-"

// disk is the file system.
type disk struct{}

func (disk) Remove(path string) error { return os.Remove(path) }

// Replace exchanges a file by rename, flushed to disk before and after, so that
// a crash leaves the old file or the new one. Only its owner reads it.
func (disk) Replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, partial+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes what a killed process left half written.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.records())
	if err != nil {
		return // there is none yet, or its first use says what is wrong
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), partial) {
			_ = os.Remove(filepath.Join(s.records(), entry.Name())) // what stays does no harm
		}
	}
}
