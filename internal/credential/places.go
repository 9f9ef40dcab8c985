package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/docker/cli/cli/config/configfile"
)

// variable holds logins in the form of Docker's configuration, and comes before
// all files: CI services set it.
const variable = "DOCKER_AUTH_CONFIG"

// fileLimit bounds a file of logins, in bytes.
const fileLimit = 4 << 20

func places(getenv func(string) string) []string {
	home := getenv("HOME")
	if home == "" {
		home = getenv("USERPROFILE")
	}
	var files []string
	add := func(base string, parts ...string) {
		if base != "" {
			files = append(files, filepath.Join(append([]string{base}, parts...)...))
		}
	}
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(getenv("REGISTRY_AUTH_FILE"))
	add(getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return files
}

// sources reads the places up to the first that cannot be read, which is the
// error.
func (s *Store) sources() ([]*source, error) {
	var out []*source
	if s.getenv != nil {
		if text := s.getenv(variable); strings.TrimSpace(text) != "" {
			src, err := parse("$"+variable, []byte(text))
			if err != nil {
				return nil, err
			}
			out = append(out, src)
		}
	}
	for _, path := range s.files {
		raw, err := read(path)
		if err != nil {
			return out, &Error{Source: path, Err: err}
		}
		if len(raw) == 0 {
			continue
		}
		src, err := parse(path, raw)
		if err != nil {
			return out, err
		}
		out = append(out, src)
	}
	return out, nil
}

// read returns a file, or nothing where there is none.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, plain(err)
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular(): // to open a pipe would wait for a writer
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(raw) > fileLimit {
		return nil, fmt.Errorf("it is larger than %d MiB", fileLimit>>20)
	}
	return raw, nil
}

// plain is a file's error without its path.
func plain(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

func parse(name string, raw []byte) (*source, error) {
	var file struct {
		Auths       map[string]auth   `json:"auths"`
		CredsStore  string            `json:"credsStore"`
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, &Error{Source: name, Err: fmt.Errorf("it is not Docker's JSON: %w", err)}
	}
	src := &source{name: name, auths: map[string]auth{}, helpers: map[string]helper{}, store: file.CredsStore}
	// Of two spellings of one key, the one that sorts first and says anything.
	for _, key := range slices.Sorted(maps.Keys(file.Auths)) {
		entry := file.Auths[key]
		entry.key = key
		if old, twice := src.auths[normalize(key)]; !twice || old.empty() {
			src.auths[normalize(key)] = entry
		}
	}
	for _, key := range slices.Sorted(maps.Keys(file.CredHelpers)) {
		name := file.CredHelpers[key]
		if _, twice := src.helpers[normalize(key)]; !twice && name != "" {
			if normalize(key) == "docker.io" {
				src.helpers["docker.io"] = helper{name, hubKey}
				continue
			}
			src.helpers[normalize(key)] = helper{name, key}
		}
	}
	return src, nil
}

func (a auth) empty() bool { return a == (auth{key: a.key}) }

// Docker returns Docker's configuration for what it holds besides logins, such
// as proxies; an empty one where there is none.
func (s *Store) Docker() (*configfile.ConfigFile, error) {
	if s == nil || len(s.files) == 0 {
		return configfile.New(""), nil
	}
	path := s.files[0]
	raw, err := read(path)
	if err != nil {
		return nil, &Error{Source: path, Err: err}
	}
	var file struct {
		Proxies map[string]configfile.ProxyConfig `json:"proxies"`
	}
	out := configfile.New(path)
	if len(raw) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, &Error{Source: path, Err: fmt.Errorf("it is not Docker's JSON: %w", err)}
	}
	out.Proxies = file.Proxies
	return out, nil
}
