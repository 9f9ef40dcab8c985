package device_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

// refusing answers only where a condition of the shell holds.
func refusing(condition string) string {
	return `#!/bin/sh
case "$1 $2" in "context inspect") echo default; exit 0 ;; esac
` + condition + ` || { echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1; }
case "$1" in version) echo "20.10 amd64" ;; info) echo / ;; esac
`
}

// TestRuntimeFound looks for the runtime of devices that are no fresh Debian.
func TestRuntimeFound(t *testing.T) {
	t.Parallel()
	const sudo = `#!/bin/sh
[ "$1" = -n ] || exit 9
shift
[ "$1" = -l ] && exit 0
AS_ROOT=1 exec "$@"
`
	for _, tt := range []struct {
		name string
		// home and path are what lies in the user's home, and in a directory of PATH.
		home, path map[string]string
		socket     string
		spec       config.Device
		// fails is what the error or its hint says; "" where the device is ready.
		fails []string
	}{
		{name: "in ~/bin", home: map[string]string{"bin/docker": fakeDocker}},
		{name: "Docker Desktop", home: map[string]string{".docker/bin/docker": fakeDocker}},
		{name: "OrbStack", home: map[string]string{".orbstack/bin/docker": fakeDocker}},
		{name: "with a path", home: map[string]string{"odd place/docker": fakeDocker}, spec: config.Device{Runtime: "docker", Path: "HOME/odd place/docker"}},
		{name: "under another name", home: map[string]string{"d": fakeDocker}, spec: config.Device{Runtime: "docker", Path: "HOME/d"}},
		{name: "not at the path", spec: config.Device{Runtime: "docker", Path: "HOME/nowhere"}, fails: []string{"nowhere is no program", "path in targets.hcl"}},
		{name: "nowhere", spec: config.Device{Runtime: "nerdctl"}, fails: []string{"there is no nerdctl in ", ":/usr/bin:", `path = "`}},
		{
			name: "for root only, by sudo", path: map[string]string{"docker": refusing(`[ "$AS_ROOT" = 1 ]`), "sudo": sudo},
			spec: config.Device{Runtime: "docker", Sudo: true},
		},
		{
			name: "for root only, which nobody said", path: map[string]string{"docker": refusing(`[ "$AS_ROOT" = 1 ]`), "sudo": sudo},
			spec: config.Device{Runtime: "docker"}, fails: []string{"except with sudo", "sudo = true"},
		},
		{
			name: "sudo that asks for a password", path: map[string]string{"docker": refusing("false"), "sudo": "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n"},
			spec: config.Device{Runtime: "docker", Sudo: true}, fails: []string{"a password is required", "NOPASSWD"},
		},
		{
			name: "rootless, without the login shell's DOCKER_HOST", socket: "run/docker.sock",
			path: map[string]string{"docker": refusing(`[ "$DOCKER_HOST" = "unix://$HOME/run/docker.sock" ]`)}, spec: config.Device{Runtime: "docker"},
		},
		{
			name: "Colima", socket: ".colima/default/docker.sock",
			path: map[string]string{"docker": refusing(`[ "$DOCKER_HOST" = "unix://$HOME/.colima/default/docker.sock" ]`)}, spec: config.Device{Runtime: "docker"},
		},
		{
			name: "a context that is down stays the one that is asked", socket: "run/docker.sock",
			path: map[string]string{"docker": strings.Replace(refusing(`[ -n "$DOCKER_HOST" ]`), "echo default", "echo other", 1)}, spec: config.Device{Runtime: "docker"},
			fails: []string{"permission denied"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			home, err := os.MkdirTemp("", "h") // a socket's path must be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(home) })
			for name, text := range tt.home {
				file := filepath.Join(home, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if tt.socket != "" {
				file := filepath.Join(home, tt.socket)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				l, err := net.Listen("unix", file)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = l.Close() })
			}
			// The machine of the test may have a docker, which is not to be found.
			var bare []string
			for _, d := range []string{"/usr/bin", "/bin"} {
				bare = append(bare, without(t, d, "docker", "podman", "nerdctl", "sudo"))
			}
			programs := tools(t, tt.path)
			s := sshtest.Start(t, sshtest.Options{Env: map[string]string{
				"PATH": programs + ":" + strings.Join(bare, ":"), "HOME": home, "XDG_RUNTIME_DIR": filepath.Join(home, "run"),
			}})
			spec := tt.spec
			spec.Path = strings.Replace(spec.Path, "HOME", home, 1)
			d := open(t, s, spec)
			f, err := d.Probe(t.Context())
			if len(tt.fails) == 0 {
				if err != nil || f.Runtime != "docker" || f.RuntimeVersion != "20.10" {
					t.Fatalf("%+v, %v; want the runtime found", f, err)
				}
				if _, err := d.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, device.NoRuntime, "")
			var e *device.Error
			errors.As(err, &e) // wantError has seen that it is one
			text := err.Error() + " " + e.Hint
			for _, want := range tt.fails {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
		})
	}
}

// without is a directory of links to all programs of another but some.
func without(t *testing.T, dir string, names ...string) string {
	t.Helper()
	out := t.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
next:
	for _, e := range entries {
		for _, n := range names {
			if e.Name() == n {
				continue next
			}
		}
		if err := os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(out, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
