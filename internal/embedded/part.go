package embedded

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// The modules are embedded under other names, because a directory with a
// go.mod is a module of its own and does not travel with this one.
//
//go:embed parts
var modules embed.FS

// Part is a program that is compiled from a pinned Go module.
type Part string

// The parts.
const (
	Buildkitd   Part = "buildkitd"
	Runc        Part = "runc"
	Rootlesskit Part = "rootlesskit"
	Registry    Part = "registry"
)

// recipe says how to compile a part.
type recipe struct {
	module  string // the base name of its .mod and .sum in parts
	target  string // what to give to go build
	cgo     bool
	tags    string
	ldflags string

	// seccomp is whether build steps run behind a seccomp filter, which takes
	// libseccomp's headers to compile.
	seccomp bool
}

// Versions are pinned in parts/*.mod; buildkit's is repeated for its linker
// flag, and a test compares the two. Flags follow each project's own release
// build.
var recipes = map[Part]recipe{
	Buildkitd: {
		module: "buildkit", target: "github.com/moby/buildkit/cmd/buildkitd", tags: "osusergo,netgo,static_build",
		ldflags: "-s -w -X github.com/moby/buildkit/version.Version=" + BuildKitVersion + " -X github.com/moby/buildkit/version.Package=github.com/moby/buildkit",
	},
	// runc enters namespaces in C, before Go's threads start.
	Runc:        {module: "runc", target: "github.com/opencontainers/runc", cgo: true, tags: "urfave_cli_no_docs", ldflags: "-s -w"},
	Rootlesskit: {module: "rootlesskit", target: "github.com/rootless-containers/rootlesskit/v2/cmd/rootlesskit", ldflags: "-s -w"},
	Registry:    {module: "registry", target: "registry.go", ldflags: "-s -w"},
}

// BuildKitVersion is the version of BuildKit that the worker is compiled from.
const BuildKitVersion = "v0.34.2"

// recipe returns how to compile p on this machine as it is now.
func (p Part) recipe() (recipe, error) {
	r, ok := recipes[p]
	if !ok {
		return recipe{}, fmt.Errorf("compiling %q: no such part", p)
	}
	if p == Buildkitd || p == Runc {
		r.seccomp = exec.Command("pkg-config", "--exists", "libseccomp").Run() == nil
	}
	if p == Runc && r.seccomp {
		r.tags += ",seccomp"
	}
	return r, nil
}

// sources returns the files to compile the recipe from, by name.
func (r recipe) sources() (map[string][]byte, error) {
	files := map[string]string{"go.mod": r.module + ".mod", "go.sum": r.module + ".sum"}
	if filepath.Ext(r.target) == ".go" {
		files[r.target] = r.target
	}
	if r.module == "buildkit" && !r.seccomp {
		files["noseccomp/go.mod"] = "noseccomp.mod"
		files["noseccomp/seccomp.go"] = "noseccomp.txt"
	}
	out := map[string][]byte{}
	for name, embedded := range files {
		data, err := modules.ReadFile("parts/" + embedded)
		if err != nil {
			return nil, fmt.Errorf("reading embedded %q: %w", embedded, err)
		}
		out[name] = data
	}
	if r.module == "buildkit" && !r.seccomp {
		out["go.mod"] = append(out["go.mod"], "\nreplace github.com/moby/profiles/seccomp => ./noseccomp\n"...)
	}
	return out, nil
}

// key names what the recipe compiles to here: another key, another program.
func (r recipe) key() (string, error) {
	files, err := r.sources()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s/%s %+v\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, r)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// path returns where the program p lies once it is compiled.
func (m *Machine) path(p Part) (string, error) {
	r, err := p.recipe()
	if err != nil {
		return "", err
	}
	key, err := r.key()
	if err != nil {
		return "", err
	}
	program := filepath.Join(m.Dirs.Cache, "parts", string(p)+"-"+key, "bin", string(p))
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	return program, nil
}

// Part returns the path of the program p, compiling it if this user's cache
// does not hold it. Processes that ask for the same part at the same time
// compile it once. The error says what is missing and how to get it.
func (m *Machine) Part(ctx context.Context, p Part) (string, error) {
	program, err := m.path(p)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(filepath.Dir(program))
	places := []string{m.Dirs.Cache, filepath.Dir(dir), dir, filepath.Dir(program)}
	if ok, err := complete(program, places); ok || err != nil {
		return program, err
	}
	begin := time.Now()
	release, err := lock(ctx, dir+".lock", func() {
		m.report(Event{Subject: string(p), Phase: Waiting, Detail: "another process compiles it"})
	})
	if err != nil {
		return "", err
	}
	defer release()
	if ok, err := complete(program, places); ok || err != nil {
		return program, err
	}

	src := filepath.Join(dir, "src")
	for _, d := range append(places, src) {
		if err := private(d); err != nil {
			return "", err
		}
	}
	r, err := p.recipe()
	if err != nil {
		return "", err
	}
	files, err := r.sources()
	if err != nil {
		return "", err
	}
	for name, data := range files {
		file := filepath.Join(src, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", fmt.Errorf("writing the module of %q: %w", p, err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return "", fmt.Errorf("writing the module of %q: %w", p, err)
		}
	}
	// A rename is all or nothing, so a program that exists is complete.
	fresh := program + ".new"
	if err := m.compile(ctx, p, r, src, fresh, begin); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, program); err != nil {
		return "", fmt.Errorf("placing %q: %w", p, err)
	}
	if p == Runc && !r.seccomp {
		m.report(Event{Subject: string(p), Phase: Note, Detail: "compiled without libseccomp, so build steps run without a seccomp filter; for one, install it (Debian, Ubuntu: apt-get install libseccomp-dev pkg-config), then `mage down`"})
	}
	m.report(Event{Subject: string(p), Phase: Compiled, Detail: program, Elapsed: time.Since(begin)})
	return program, nil
}

// complete reports whether the program is there to be run. One that somebody
// else may have put there, or can change, is an error: it would run with all that
// this user may do.
func complete(program string, places []string) (bool, error) {
	info, err := os.Lstat(program)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %q: %w", program, err)
	}
	for _, d := range places {
		if err := private(d); err != nil {
			return false, err
		}
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%q is no regular file; remove it", program)
	}
	if uid, ok := owner(info); ok && uid != os.Getuid() {
		return false, fmt.Errorf("%q belongs to uid %d, not to you (uid %d); remove it, or set XDG_CACHE_HOME to a directory of your own", program, uid, os.Getuid())
	}
	return true, nil
}
