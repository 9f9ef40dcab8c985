package release

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gofrs/flock"
)

// tenant is who this process is on devices, which may serve many.
type tenant struct {
	// owner names the workspace: no other has the same, nor has a copy of it.
	owner string
	// run names this process, and live gives the others of the workspace that
	// run now.
	run  string
	live func() []string
}

// tenant begins a run on devices. Where the state directory cannot be written,
// nobody can tell later whose its leftovers are: they go when their time is over.
func (w *Workspace) tenant() tenant {
	t := tenant{owner: randomWord(), run: randomWord(), live: func() []string { return nil }}
	if w.journal.Make() != nil {
		return t
	}
	id, err := workspaceID(w.path("id"))
	if err != nil {
		return t
	}
	t.owner = ownerOf(id, w.path("id"), w.Dir)
	run, held, err := beginRun(w.path("runs"))
	if err != nil {
		return t
	}
	t.run = run
	t.live = func() []string {
		runtime.KeepAlive(held) // for as long as somebody may ask
		return liveRuns(w.path("runs"), run)
	}
	return t
}

// ownerOf makes a name of the workspace's id. Host, path and file go into it: a
// state directory that was copied, by a CI cache or with a clone, has the same id.
func ownerOf(id, path, dir string) string {
	host, _ := os.Hostname() // "" is as good as a name that others have too
	sum := sha256.Sum256([]byte(strings.Join([]string{id, host, dir, fileMark(path)}, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// idLength is that of a workspace's id, in letters.
const idLength = 32

// workspaceID reads the random id of a workspace, or makes it. Of processes that
// do so at once all get the same.
func workspaceID(path string) (string, error) {
	for range 3 {
		data, err := os.ReadFile(path)
		id := strings.TrimSpace(string(data))
		if _, herr := hex.DecodeString(id); err == nil && herr == nil && len(id) == idLength {
			return id, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err == nil { // damaged
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if err := writeID(path); err != nil {
			return "", err
		}
	}
	return "", errors.New("the id of the workspace does not stay as it is written: " + path)
}

// writeID makes the file, whole, unless it is there by now.
func writeID(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-id-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // where it was renamed, nothing is left
	_, err = f.WriteString(randomWord() + randomWord() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	err = os.Link(f.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return os.Rename(f.Name(), path) // a file system without links
}

// randomWord is 16 hexadecimal digits.
func randomWord() string {
	var b [idLength / 4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// beginRun names this run and holds its file below dir, for as long as held is
// referenced: the kernel lets go of it when the process ends.
func beginRun(dir string) (run string, held *flock.Flock, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	for range 3 {
		run = randomWord()
		held = flock.New(filepath.Join(dir, run), flock.SetPermissions(0o600))
		ok, err := held.TryLock()
		if err != nil {
			return "", nil, err
		}
		if ok {
			if _, err := os.Stat(held.Path()); err == nil {
				return run, held, nil
			}
		}
		_ = held.Close() // somebody took it for one that was left
	}
	return "", nil, errors.New("another process removes the files of runs below " + dir)
}

// liveRuns are the runs below dir, but own, whose processes live. The files of
// others are removed.
func liveRuns(dir, own string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var live []string
	for _, e := range entries {
		if e.Name() == own {
			continue
		}
		path := filepath.Join(dir, e.Name())
		l := flock.New(path, flock.SetFlag(os.O_RDWR))
		ok, err := l.TryLock()
		if err == nil && ok {
			_ = os.Remove(path) // while it is ours
		} else if !errors.Is(err, fs.ErrNotExist) {
			live = append(live, e.Name()) // or it cannot be told
		}
		_ = l.Close()
	}
	return live
}
