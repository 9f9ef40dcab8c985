package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// maxSocketPath is what fits into sun_path of sockaddr_un besides the final
// NUL: 108 bytes on Linux, 104 on the BSDs (unix(7), unix(4)).
const maxSocketPath = 103

// longestSocket is the longest name of a socket below Dirs.Run.
const longestSocket = "rootlesskit/api.sock"

// Dirs are the directories of the embedded daemons. All are the user's alone.
type Dirs struct {
	// Cache holds the compiled parts. It may be deleted while nothing runs.
	Cache string

	// State holds the daemons' data, logs and records. It outlives a reboot.
	State string

	// Run holds sockets. It may vanish at a reboot.
	Run string
}

// DirsFromEnv returns the directories that the XDG base directory specification
// names for the environment getenv reads, each with "archmage" appended.
// Sockets move to a short directory below the temporary one where their path
// would be longer than the kernel takes.
func DirsFromEnv(getenv func(string) string) (Dirs, error) {
	// The specification has relative paths ignored.
	absolute := func(key string) string {
		if v := getenv(key); filepath.IsAbs(v) {
			return v
		}
		return ""
	}
	home := absolute("HOME")
	if runtime.GOOS == "windows" {
		home = absolute("USERPROFILE")
	}

	cache, state := absolute("XDG_CACHE_HOME"), absolute("XDG_STATE_HOME")
	if (cache == "" || state == "") && home == "" {
		return Dirs{}, errors.New("finding a place for the embedded worker: the environment names no home directory; set HOME, or XDG_CACHE_HOME and XDG_STATE_HOME, to absolute paths")
	}
	switch {
	case cache != "":
	case runtime.GOOS == "darwin":
		cache = filepath.Join(home, "Library", "Caches")
	case runtime.GOOS == "windows":
		cache = filepath.Join(home, "AppData", "Local")
	default:
		cache = filepath.Join(home, ".cache")
	}
	switch {
	case state != "":
	case runtime.GOOS == "windows":
		state = filepath.Join(home, "AppData", "Local", "State")
	default:
		state = filepath.Join(home, ".local", "state")
	}

	dirs := Dirs{
		Cache: filepath.Join(cache, "archmage"),
		State: filepath.Join(state, "archmage"),
	}
	// After su or sudo the runtime directory may still be the other user's.
	if run := absolute("XDG_RUNTIME_DIR"); run != "" && mine(run) == nil {
		dirs.Run = filepath.Join(run, "archmage")
	} else {
		dirs.Run = filepath.Join(dirs.State, "run")
	}
	if len(filepath.Join(dirs.Run, longestSocket)) > maxSocketPath {
		tmp := absolute("TMPDIR")
		if tmp == "" || len(tmp) > maxSocketPath/2 {
			tmp = "/tmp"
		}
		dirs.Run = filepath.Join(tmp, "archmage-"+strconv.Itoa(os.Getuid()))
	}
	return dirs, nil
}

// private makes dir a directory that only this user may enter, or says why it
// is not one.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making directory %q: %w", dir, err)
	}
	if err := mine(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("reading directory %q: %w", dir, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("closing directory %q to others: %w", dir, err)
		}
	}
	return nil
}

// mine reports, as an error, that dir is not a real directory of this user's.
func mine(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("reading directory %q: %w", dir, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%q is not a directory; move it away, or set XDG_STATE_HOME and XDG_RUNTIME_DIR to directories of your own", dir)
	}
	if uid, ok := owner(info); ok && uid != os.Getuid() {
		return fmt.Errorf("directory %q belongs to uid %d, not to you (uid %d); give it back with chown, or set XDG_CACHE_HOME, XDG_STATE_HOME and XDG_RUNTIME_DIR to directories of your own", dir, uid, os.Getuid())
	}
	return nil
}
