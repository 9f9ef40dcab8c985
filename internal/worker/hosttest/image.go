package hosttest

import (
	"archive/tar"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// Image writes the root file system of an image that runs BuildKit, as a tar
// archive, and returns its path. It holds what moby/buildkit does: buildkitd,
// buildctl and runc.
func Image(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "buildkit.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w := tar.NewWriter(f)
	for _, dir := range []string{"bin/", "tmp/", "run/", "etc/", "root/", "var/lib/buildkit/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o1777}); err != nil {
			t.Fatal(err)
		}
	}
	runc := part(t, embedded.Runc)
	files := map[string]string{"bin/buildkitd": part(t, embedded.Buildkitd), "bin/runc": runc, "bin/buildctl": embeddedtest.Peer(t, "buildctl")}
	for _, lib := range libraries(t, runc) {
		files[lib[1:]] = lib
	}
	for name, from := range files {
		add(t, w, name, from)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func add(t testing.TB, w *tar.Writer, name, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: info.Size()}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, in); err != nil {
		t.Fatal(err)
	}
}

var libraryPath = regexp.MustCompile(`(?m)(/\S+) \(0x[0-9a-f]+\)$`)

// libraries are the shared ones that a program loads; none if it is static.
func libraries(t testing.TB, program string) []string {
	t.Helper()
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil // ldd says so of a static program
	}
	var paths []string
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		paths = append(paths, m[1])
	}
	return paths
}
