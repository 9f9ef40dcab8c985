package device_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// A device with a loopback of its own, on a cable that can be cut: the
// registry of this machine's loopback must be brought to it.
func TestNamespace(t *testing.T) {
	t.Parallel()
	ns := sshtest.NewHost(t)
	e := devicetest.Docker(t, devicetest.EngineOptions{Host: ns})
	s := sshtest.Start(t, sshtest.Options{Host: ns, Env: map[string]string{"DOCKER_HOST": e.Socket}})
	d := open(t, s, config.Device{})
	host := registrytest.Serve(t)
	image, err := d.Pull(t.Context(), device.PullRequest{Ref: push(t, host+"/probe", here(t), devicetest.Program(t, here(t))), Platform: here(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("published port", func(t *testing.T) {
		r, err := d.Run(t.Context(), device.RunRequest{
			Image: image.ID, Args: []string{"serve", ":8080"}, Timeout: 20 * time.Second, Output: 1 << 10,
			HTTP: &config.HTTP{Port: 8080, Path: "/healthz", Status: 200, Match: "ok", Interval: 100 * time.Millisecond},
		})
		if err != nil || !r.HTTP.OK {
			t.Errorf("%v: %+v, stderr %q", err, r.HTTP, r.Stderr)
		}
	})
	t.Run("allocated port", func(t *testing.T) {
		e.Run(t, "run", "-d", "--name", "holder", "-p", "9999:1", image.ID.String(), "sleep", "1h")
		d.Spec.RunArgs = []string{"-p", "9999:1"}
		_, err := d.Run(t.Context(), device.RunRequest{Image: image.ID, Timeout: 20 * time.Second, Output: 1 << 10})
		wantError(t, err, device.StartFailed, "port is already allocated")
		d.Spec.RunArgs = nil
		e.Run(t, "rm", "-f", "holder")
		clean(t, e)
	})
	t.Run("sshd forbids forwarding", func(t *testing.T) {
		s := sshtest.Start(t, sshtest.Options{Host: ns, Env: map[string]string{"DOCKER_HOST": e.Socket}, Lines: []string{"AllowTcpForwarding no"}})
		_, err := open(t, s, config.Device{}).Pull(t.Context(), device.PullRequest{Ref: push(t, registrytest.Serve(t)+"/probe", here(t), []byte("x")), Platform: here(t)})
		wantError(t, err, device.NoRegistry, "bringing the registry")
	})
	t.Run("cable cut", func(t *testing.T) {
		done := make(chan device.RunResult, 1)
		go func() {
			r, err := d.Run(t.Context(), device.RunRequest{Image: image.ID, Args: []string{"stubborn"}, Timeout: 3 * time.Second, Output: 1 << 10})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		embeddedtest.Await(t, "container", 20*time.Second, func() bool { return e.Run(t, "ps", "-q") != "" })
		ns.Cut(t)
		begin := time.Now()
		if r := <-done; !r.TimedOut || time.Since(begin) > 5*time.Second {
			t.Errorf("timed out: %t after %s; want 3 s ± 2 s", r.TimedOut, time.Since(begin))
		}
		// Nobody can tell the device now: it ends the container by itself.
		embeddedtest.Await(t, "end of all containers", 15*time.Second, func() bool { return len(e.Containers(t)) == 0 })
		ns.Plug(t)
	})
}

// A credential is lent for the time of a pull and found nowhere afterwards.
func TestCredential(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	const user, secret = "robot$deploy", "s3cret'; echo \"$HOME\""
	closed := false
	host := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, p, _ := r.BasicAuth()
			if closed && (u != user || p != secret) {
				w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	ref := push(t, host+"/probe", here(t), devicetest.Program(t, here(t)))
	closed = true
	// The engine is known by a context alone, as that of rootless Docker is.
	home := t.TempDir()
	for _, args := range [][]string{{"create", "other", "--docker", "host=" + e.Socket}, {"use", "other"}} {
		embeddedtest.Run(t, "env", append([]string{"-u", "DOCKER_HOST", "docker", "--config", home, "context"}, args...)...)
	}
	had, err := filepath.Glob(filepath.Join(home, "*"))
	if err != nil {
		t.Fatal(err)
	}
	s := sshtest.Start(t, sshtest.Options{Env: map[string]string{"HOME": home, "DOCKER_CONFIG": home}})

	_, err = open(t, s, config.Device{}).Pull(t.Context(), device.PullRequest{Ref: ref, Platform: here(t)})
	wantError(t, err, device.NoRegistry, "no basic auth credentials")

	asked := ""
	spec := &config.Device{Name: "bench", Host: s.Alias, LendCredentials: true}
	d := device.New(spec, device.Options{SSHConfig: s.Config, Credential: lend(&asked, device.Credential{Username: user, Password: secret})})
	defer d.Close()
	if _, err := d.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: here(t)}); err != nil {
		t.Fatal(err)
	}
	if want := host + "/probe"; asked != want {
		t.Errorf("the credential of %q was asked for, want that of %q", asked, want)
	}
	for pattern, had := range map[string][]string{"/dev/shm/archmage.*": nil, filepath.Join(home, "*"): had} {
		if left, err := filepath.Glob(pattern); err != nil || !slices.Equal(left, had) {
			t.Errorf("left behind: %q (%v)", left, err)
		}
	}
	d.Spec.PullTimeout = time.Nanosecond // interrupted at once
	if _, err := d.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: here(t)}); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}

func TestPodman(t *testing.T) {
	t.Parallel()
	embeddedtest.Program(t, "podman", "podman")
	embeddedtest.Need(t, os.Getuid() == 0, "a podman with storage of its own is set up for root")
	dir := t.TempDir()
	conf := filepath.Join(dir, "containers.conf")
	storage := filepath.Join(dir, "storage.conf")
	for name, text := range map[string]string{
		// Limits that a container may not raise are no reason to fail.
		conf:    "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
		storage: "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + dir + "/root\"\nrunroot = \"" + dir + "/run\"\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host := registrytest.Serve(t)
	s := sshtest.Start(t, sshtest.Options{Env: map[string]string{"CONTAINERS_CONF": conf, "CONTAINERS_STORAGE_CONF": storage}})
	d := open(t, s, config.Device{Runtime: "podman", RunArgs: []string{"--network=host"}})
	f, err := d.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.Runtime != "podman" || f.RuntimeVersion == "" || f.Free <= 0 {
		t.Errorf("facts: %+v", f)
	}
	ref := push(t, host+"/probe", here(t), devicetest.Program(t, here(t)))
	image, err := d.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: here(t)})
	if err != nil {
		t.Fatal(err)
	}
	req := device.RunRequest{Image: image.ID, Args: []string{"version"}, Files: []string{"/etc/probe.conf", "/nowhere"}, Timeout: time.Minute, Output: 1 << 10}
	r, err := d.Run(t.Context(), req)
	if err != nil || !r.Ended || !strings.HasPrefix(string(r.Stdout), "probe linux/") || strings.Join(r.Missing, "") != "/nowhere" {
		t.Errorf("%v: %+v, stdout %q, stderr %q", err, r, r.Stdout, r.Stderr)
	}
	req.Args, req.Files = []string{"exit", "9"}, nil
	if r, err := d.Run(t.Context(), req); err != nil || r.ExitCode != 9 || !strings.Contains(string(r.Stderr), "leaving with 9") {
		t.Errorf("%v: %+v, stderr %q", err, r, r.Stderr)
	}
	req.Args, req.Timeout = []string{"stubborn"}, 2*time.Second
	if r, err := d.Run(t.Context(), req); err != nil || !r.TimedOut {
		t.Errorf("%v: %+v", err, r)
	}
	_, err = d.Pull(t.Context(), device.PullRequest{Ref: strings.Split(ref, "@")[0] + "@sha256:" + strings.Repeat("0", 64), Platform: here(t)})
	wantError(t, err, device.NotThere, "manifest unknown")
	embeddedtest.Await(t, "removal of the container", 20*time.Second, func() bool {
		removed, err := d.Sweep(t.Context())
		return err == nil && len(removed) == 0
	})
	w, err := d.Wipe(t.Context(), device.WipeRequest{Repositories: []string{host + "/probe"}})
	if err != nil || len(w.Images) != 1 || !w.Images[0].Removed {
		t.Errorf("%v: %+v", err, w)
	}
}

// This machine is a device without SSH.
func TestLocal(t *testing.T) {
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	t.Setenv("DOCKER_HOST", e.Socket)
	d := device.New(&config.Device{Name: "here", Host: "local", Runtime: "docker"}, device.Options{Owner: "test"})
	defer d.Close()
	host := registrytest.Serve(t)
	image, err := d.Pull(t.Context(), device.PullRequest{Ref: push(t, host+"/probe", here(t), devicetest.Program(t, here(t))), Platform: here(t)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Run(t.Context(), device.RunRequest{Image: image.ID, Timeout: time.Minute, Output: 1 << 10})
	if err != nil || !strings.HasPrefix(string(r.Stdout), "probe linux/") {
		t.Errorf("%v: stdout %q", err, r.Stdout)
	}
	r, err = d.Run(t.Context(), device.RunRequest{Image: image.ID, Args: []string{"stubborn"}, Timeout: time.Second, Output: 1 << 10})
	if err != nil || !r.TimedOut || r.Time > 3*time.Second {
		t.Errorf("%v: timed out: %t after %s", err, r.TimedOut, r.Time)
	}
	clean(t, e)
}

func lend(asked *string, c device.Credential) func(context.Context, string) (device.Credential, bool, error) {
	return func(_ context.Context, repository string) (device.Credential, bool, error) {
		*asked = repository
		return c, true, nil
	}
}
