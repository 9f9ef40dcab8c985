package device_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

// fakeDocker answers a probe like a Docker Engine that runs.
const fakeDocker = `#!/bin/sh
case "$1" in
version) echo "20.10 amd64" ;;
info) echo / ;;
esac
`

// tools is a directory of programs that come ahead of the device's own.
func tools(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func path(dir string) map[string]string {
	return map[string]string{"PATH": dir + ":/usr/bin:/bin"}
}

func open(t *testing.T, s *sshtest.Server, spec config.Device) *device.Device {
	t.Helper()
	spec.Name = "bench"
	if spec.Host == "" {
		spec.Host = s.Alias
	}
	d := device.New(&spec, device.Options{SSHConfig: s.Config, Owner: "test", Connect: 10 * time.Second})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestProbe(t *testing.T) {
	t.Parallel()
	fake := tools(t, map[string]string{"docker": fakeDocker})
	for _, tt := range []struct {
		name  string
		force string
		needs [2]string
	}{
		{"plain", "", [2]string{}},
		{"banner", `echo 'Welcome to the lab!'; echo 'mind the step' >&2; sh -c "$SSH_ORIGINAL_COMMAND"; echo Goodbye`, [2]string{}},
		{"fish", `fish -c "$SSH_ORIGINAL_COMMAND"`, [2]string{"fish", "fish"}},
		{"tcsh", `tcsh -c "$SSH_ORIGINAL_COMMAND"`, [2]string{"tcsh", "tcsh"}},
		{"busybox", `busybox sh -c "$SSH_ORIGINAL_COMMAND"`, [2]string{"busybox", "busybox"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.needs[0] != "" {
				embeddedtest.Program(t, tt.needs[0], tt.needs[1])
			}
			s := sshtest.Start(t, sshtest.Options{Env: path(fake), Force: tt.force})
			d := open(t, s, config.Device{})
			f, err := d.Probe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if f.Runtime != "docker" || f.RuntimeVersion != "20.10" || f.Kernel == "" || f.Free <= 0 {
				t.Errorf("facts: %+v", f)
			}
			if !strings.Contains(f.HostKey, s.Fingerprint) {
				t.Errorf("host key %q, want %s", f.HostKey, s.Fingerprint)
			}
			if f.Clock < -2*time.Second || f.Clock > 2*time.Second {
				t.Errorf("this machine's clock is %s off itself", f.Clock)
			}
			if _, err := d.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
			if n := s.Logins(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

// What a runtime warns about is no answer, wherever it comes.
func TestProbeWarned(t *testing.T) {
	t.Parallel()
	const warn = "echo 'WARNING: Error loading config file: 9.9 /nowhere' >&2\n"
	for runtime, answers := range map[string]string{
		"docker":  "case $1 in version) echo 20.10 arm ;; info) echo / ;; esac\n",
		"podman":  "echo 20.10 arm /var\n",
		"nerdctl": "case $1 in version) echo 20.10 ;; info) echo arm / ;; esac\n",
	} {
		for name, text := range map[string]string{"ahead": warn + answers, "behind": answers + warn} {
			fake := tools(t, map[string]string{
				runtime: "#!/bin/sh\n" + text,
				// A 32-bit userland on a 64-bit kernel, which takes what the runtime says.
				"uname":   "#!/bin/sh\n[ \"$1\" = -m ] && echo aarch64 || echo Linux 6\n",
				"setarch": "#!/bin/sh\nexit 0\n",
			})
			s := sshtest.Start(t, sshtest.Options{Env: path(fake)})
			f, err := open(t, s, config.Device{Runtime: runtime}).Probe(t.Context())
			if err != nil {
				t.Errorf("%s, %s: %v", runtime, name, err)
				continue
			}
			if f.Runtime != runtime || f.RuntimeVersion != "20.10" || f.Platform != "linux/arm/v7" || f.Free <= 0 {
				t.Errorf("%s, %s: %+v", runtime, name, f)
			}
		}
	}
}

func TestProbeRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		docker string
		kind   device.Kind
		says   string
	}{
		{"none", "", device.NoRuntime, "there is no docker"},
		{"not allowed", "#!/bin/sh\necho 'Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: permission denied' >&2; exit 1\n", device.NoRuntime, "the user may not use docker"},
		{"not running", "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2; exit 1\n", device.NoRuntime, "Is the docker daemon running"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spec := config.Device{Runtime: "docker"}
			programs := map[string]string{"docker": tt.docker}
			if tt.docker == "" {
				// The machine of the test may have a docker of its own.
				programs = map[string]string{}
				spec.Runtime = "nerdctl"
				if _, err := exec.LookPath("nerdctl"); err == nil {
					t.Skip("nerdctl is installed")
				}
				tt.says = "there is no nerdctl"
			}
			s := sshtest.Start(t, sshtest.Options{Env: path(tools(t, programs))})
			_, err := open(t, s, spec).Probe(t.Context())
			wantError(t, err, tt.kind, tt.says)
		})
	}
}

func wantError(t *testing.T, err error, kind device.Kind, says string) {
	t.Helper()
	var e *device.Error
	if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v; want %q saying %q", err, kind, says)
	}
	if e.Hint == "" || !strings.Contains(err.Error(), `device "bench"`) {
		t.Errorf("%v: no name or no hint (%q)", err, e.Hint)
	}
}

func TestConnectRefused(t *testing.T) {
	t.Parallel()
	other := func(t *testing.T) *sshtest.Server { return sshtest.Start(t, sshtest.Options{}) }
	for _, tt := range []struct {
		name string
		set  func(t *testing.T, s *sshtest.Server, spec *config.Device)
		kind device.Kind
		says string
	}{
		{"unknown key", func(t *testing.T, s *sshtest.Server, _ *config.Device) {
			s.Forget(t)
		}, device.HostKey, "not known"},
		{"changed key", func(t *testing.T, s *sshtest.Server, _ *config.Device) {
			s.Know(t, other(t))
		}, device.HostKey, "has changed"},
		{"changed key, new ones accepted", func(t *testing.T, s *sshtest.Server, spec *config.Device) {
			s.Know(t, other(t))
			spec.AcceptNew = true
		}, device.HostKey, "has changed"},
		{"not the pinned key", func(_ *testing.T, _ *sshtest.Server, spec *config.Device) {
			spec.HostKey = "SHA256:" + strings.Repeat("A", 43)
		}, device.HostKey, "is not the pinned one (it showed ssh-ed25519 SHA256:"},
		{"no key of ours", func(t *testing.T, s *sshtest.Server, _ *config.Device) {
			remove(t, filepath.Join(s.Dir, "authorized_keys"))
		}, device.Denied, "let nobody in"},
		{"wrong user", func(_ *testing.T, s *sshtest.Server, spec *config.Device) {
			spec.Host = "nobody-of-that-name@" + s.Alias
		}, device.Denied, "let nobody in"},
		{"nobody there", func(t *testing.T, s *sshtest.Server, _ *config.Device) {
			s.Configure(t, "  Port 1")
		}, device.Unreachable, "connection refused"},
		{"unknown name", func(_ *testing.T, _ *sshtest.Server, spec *config.Device) {
			spec.Host = "no-such-host.invalid"
		}, device.Unreachable, "the name is not known"},
		{"user config cannot weaken it", func(t *testing.T, s *sshtest.Server, _ *config.Device) {
			s.Forget(t)
			s.Configure(t, "  StrictHostKeyChecking no")
		}, device.HostKey, "not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t, sshtest.Options{})
			spec := config.Device{}
			tt.set(t, s, &spec)
			wantError(t, open(t, s, spec).Connect(t.Context()), tt.kind, tt.says)
		})
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	fake := tools(t, map[string]string{"docker": fakeDocker})
	t.Run("pinned", func(t *testing.T) {
		t.Parallel()
		s := sshtest.Start(t, sshtest.Options{Env: path(fake)})
		s.Forget(t) // the pin is enough
		if _, err := open(t, s, config.Device{HostKey: s.Fingerprint}).Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("new ones accepted", func(t *testing.T) {
		t.Parallel()
		s := sshtest.Start(t, sshtest.Options{Env: path(fake)})
		s.Forget(t)
		if _, err := open(t, s, config.Device{AcceptNew: true}).Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if known, err := os.ReadFile(filepath.Join(s.Dir, "known_hosts")); err != nil || len(known) == 0 {
			t.Errorf("the key was not remembered (%v)", err)
		}
	})
	t.Run("every hop", func(t *testing.T) {
		t.Parallel()
		jump := sshtest.Start(t, sshtest.Options{})
		s := sshtest.Start(t, sshtest.Options{Env: path(fake)})
		hop, err := os.ReadFile(jump.Config)
		if err != nil {
			t.Fatal(err)
		}
		s.Configure(t, "  ProxyJump jump")
		f, err := os.OpenFile(s.Config, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%s  StrictHostKeyChecking no\n", strings.Replace(string(hop), "Host "+jump.Alias, "Host jump", 1))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, s, config.Device{}).Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		jump.Forget(t)
		wantError(t, open(t, s, config.Device{AcceptNew: true}).Connect(t.Context()), device.HostKey, "not known")
	})
}

// A device that accepts and then says nothing is given up in time.
func TestConnectHangs(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.Configure(t, fmt.Sprintf("  Port %d", l.Addr().(*net.TCPAddr).Port))
	spec := &config.Device{Name: "bench", Host: s.Alias}
	d := device.New(spec, device.Options{SSHConfig: s.Config, Connect: time.Second})
	begin := time.Now()
	wantError(t, d.Connect(t.Context()), device.Unreachable, "does not answer in time")
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("given up after %s, want 1 s ± 2 s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the caller's own deadline", err)
	}
}
