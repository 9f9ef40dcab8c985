package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// record is what a file in State/daemons says of a daemon that was started.
type record struct {
	Daemon
	Process identity `json:"process"`

	// Program is the path of the part it runs, which changes with its version.
	Program string `json:"program"`

	// Sockets are files to remove once it has ended.
	Sockets []string `json:"sockets,omitempty"`
}

func (m *Machine) daemons() string { return filepath.Join(m.Dirs.State, "daemons") }

// recordFile returns the file for the daemon of that name.
func (m *Machine) recordFile(name string) string {
	return filepath.Join(m.daemons(), fileName(name)+".json")
}

// lockFile returns the lock to hold while starting or ending that daemon.
func (m *Machine) lockFile(name string) string {
	return filepath.Join(m.daemons(), fileName(name)+".lock")
}

// fileName maps a daemon's name to one that every filesystem takes.
func fileName(name string) string {
	return strings.NewReplacer(" ", "-", ":", "-", "[", "", "]", "").Replace(name)
}

// save writes rec all at once.
func (m *Machine) save(rec record) error {
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("recording %q: %w", rec.Name, err)
	}
	name := m.recordFile(rec.Name)
	if err := os.WriteFile(name+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("recording %q: %w", rec.Name, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("recording %q: %w", rec.Name, err)
	}
	return nil
}

// load returns the record of the daemon of that name and whether it still runs.
// A record that cannot be read counts as none: a torn one can only come from a
// machine that went down, and so did its daemon.
func (m *Machine) load(name string) (record, bool) {
	return readRecord(m.recordFile(name))
}

func readRecord(file string) (record, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return record{}, false
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil || rec.PID != rec.Process.PID {
		return record{}, false
	}
	return rec, rec.Process.alive()
}

// forget removes the record of the daemon of that name and its sockets.
func (m *Machine) forget(rec record) error {
	var errs []error
	for _, name := range append(rec.Sockets, m.recordFile(rec.Name)) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing what %q left: %w", rec.Name, err))
		}
	}
	return errors.Join(errs...)
}

// records returns the names of all records.
func (m *Machine) records() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(globQuote(m.daemons()), "*.json"))
	if err != nil {
		return nil, fmt.Errorf("listing daemons: %w", err)
	}
	return files, nil
}

// globQuote escapes what filepath.Match reads as a pattern.
func globQuote(path string) string {
	if filepath.Separator == '\\' {
		return path // no escapes there, and none of the characters in usual paths
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
