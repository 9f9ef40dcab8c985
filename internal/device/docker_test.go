package device_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// here is the platform of the machine that runs the tests.
func here(t *testing.T) ocispecs.Platform {
	t.Helper()
	p, err := config.ParsePlatform("local")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// push gives a reference by digest of an image of the program.
func push(t *testing.T, repo string, p ocispecs.Platform, program []byte) string {
	t.Helper()
	cfg, layer := devicetest.Image(t, p, program)
	return repo + "@" + registrytest.Push(t, repo, registrytest.Spec{Config: cfg, Layers: [][]byte{layer}}).Manifest.Digest.String()
}

// bench is a device with an engine of its own behind a real SSH server.
type bench struct {
	*device.Device
	server *sshtest.Server
	engine *devicetest.Engine
	host   string
	ref    string
}

func newBench(t *testing.T, e *devicetest.Engine, spec config.Device) *bench {
	t.Helper()
	b := &bench{engine: e, host: registrytest.Serve(t)}
	b.server = sshtest.Start(t, sshtest.Options{Env: map[string]string{"DOCKER_HOST": e.Socket}})
	b.Device = open(t, b.server, spec)
	b.ref = push(t, b.host+"/probe", here(t), devicetest.Program(t, here(t)))
	return b
}

func (b *bench) pull(t *testing.T, ref string) device.Image {
	t.Helper()
	image, err := b.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: here(t)})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func (b *bench) run(t *testing.T, req device.RunRequest) device.RunResult {
	t.Helper()
	if req.Timeout == 0 {
		req.Timeout = 30 * time.Second
	}
	if req.Output == 0 {
		req.Output = 1 << 16
	}
	r, err := b.Run(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// clean checks that nothing of ours is left on the engine.
func clean(t *testing.T, e *devicetest.Engine) {
	t.Helper()
	embeddedtest.Await(t, "end of all containers", 5*time.Second, func() bool { return len(e.Containers(t)) == 0 })
}

func TestDocker(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	b := newBench(t, e, config.Device{})
	image := b.pull(t, b.ref)
	request := func(args ...string) device.RunRequest { return device.RunRequest{Image: image.ID, Args: args} }

	t.Run("pull", func(t *testing.T) {
		p := here(t)
		if image.Platform.Architecture != p.Architecture || image.ID.Validate() != nil || len(image.DiffIDs) != 1 {
			t.Errorf("got %+v", image)
		}
	})
	t.Run("entrypoint", func(t *testing.T) {
		r := b.run(t, request())
		if want := fmt.Sprintf("probe linux/%s\n", here(t).Architecture); string(r.Stdout) != want || !r.Ended || r.ExitCode != 0 || len(r.Stderr) > 0 {
			t.Errorf("stdout %q stderr %q %+v, want %q", r.Stdout, r.Stderr, r, want)
		}
	})
	t.Run("arguments", func(t *testing.T) {
		args := []string{"a b", "$(touch /tmp/owned)", "`id`", "'", "\"", "\\", "a\nb", ";", "&", "|", "*", "~", "!", "#", "--rm", "ü✓ 漢", "", "%s", "-n"}
		var got []string
		if err := json.Unmarshal(b.run(t, request(append([]string{"args"}, args...)...)).Stdout, &got); err != nil || !slices.Equal(got, args) {
			t.Errorf("arrived as %q (%v)", got, err)
		}
	})
	t.Run("environment", func(t *testing.T) {
		req := request("env", "GREETING")
		req.Env = map[string]string{"GREETING": "it's $HOME; \"ok\""}
		if r := b.run(t, req); string(r.Stdout) != "it's $HOME; \"ok\"\n" {
			t.Errorf("got %q", r.Stdout)
		}
	})
	t.Run("exit codes", func(t *testing.T) {
		for _, code := range []int{1, 71, 125, 127, 255} {
			r := b.run(t, request("exit", fmt.Sprint(code)))
			if r.ExitCode != code || string(r.Stderr) != fmt.Sprintf("leaving with %d\n", code) {
				t.Errorf("exit %d, stderr %q; want %d", r.ExitCode, r.Stderr, code)
			}
		}
	})
	t.Run("files", func(t *testing.T) {
		req := request("write", "/trace")
		req.Files = []string{"/trace", "/no where", "/etc/probe.conf", "/etc"}
		if r := b.run(t, req); !slices.Equal(r.Missing, []string{"/no where"}) {
			t.Errorf("missing %q", r.Missing)
		}
	})
	t.Run("flood", func(t *testing.T) {
		r := b.run(t, request("flood", "200000")) // 200 MB
		if len(r.Stdout) != 1<<16 || !r.Truncated || r.ExitCode != 0 {
			t.Errorf("kept %d, truncated %t, exit %d", len(r.Stdout), r.Truncated, r.ExitCode)
		}
		t.Logf("200 MB in %s", r.Time)
	})
	t.Run("timeout", func(t *testing.T) {
		req := request("stubborn")
		req.Timeout = time.Second
		r := b.run(t, req)
		if !r.TimedOut || string(r.Stdout) != "staying\n" || r.Time > 3*time.Second {
			t.Errorf("timed out: %t after %s, said %q", r.TimedOut, r.Time, r.Stdout)
		}
		clean(t, e)
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req := request("stubborn")
		req.Timeout = time.Hour
		if _, err := b.Run(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		clean(t, e)
	})
	t.Run("broken program", func(t *testing.T) {
		broken := b.pull(t, push(t, b.host+"/probe", here(t), []byte("\x7fELF nothing that runs")))
		_, err := b.Run(t.Context(), device.RunRequest{Image: broken.ID, Timeout: time.Minute, Output: 1 << 10})
		wantError(t, err, device.WrongPlatform, "exec format error")
	})
	t.Run("no entrypoint", func(t *testing.T) {
		cfg, layer := devicetest.Image(t, here(t), devicetest.Program(t, here(t)))
		cfg.Config.Entrypoint = []string{"/absent"}
		ref := b.host + "/probe@" + registrytest.Push(t, b.host+"/probe", registrytest.Spec{Config: cfg, Layers: [][]byte{layer}}).Manifest.Digest.String()
		_, err := b.Run(t.Context(), device.RunRequest{Image: b.pull(t, ref).ID, Timeout: time.Minute, Output: 1 << 10})
		wantError(t, err, device.StartFailed, "/absent")
	})
	t.Run("vanished digest", func(t *testing.T) {
		_, err := b.Pull(t.Context(), device.PullRequest{Ref: b.host + "/probe@" + digest.FromString("gone").String()})
		wantError(t, err, device.NotThere, "manifest unknown")
	})
	if n := b.server.Logins(); n != 1 {
		t.Errorf("%d connections for all of this, want 1", n)
	}
	clean(t, e)
}

func TestDockerHTTP(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	b := newBench(t, e, config.Device{RunArgs: []string{"--network=host"}})
	image := b.pull(t, b.ref)
	port := 18000 + os.Getpid()%1000
	serve := []string{"serve", fmt.Sprintf("127.0.0.1:%d", port)}
	for _, tt := range []struct {
		name  string
		check config.HTTP
		args  []string
		want  string
	}{
		{"fits", config.HTTP{Path: "/healthz", Status: 200, Match: "^all is ok"}, serve, ""},
		{"other status", config.HTTP{Path: "/nowhere", Status: 200}, serve, "status 404, not 200"},
		{"other body", config.HTTP{Path: "/healthz", Status: 200, Match: "perfect"}, serve, "does not match"},
		{"nobody listens", config.HTTP{Path: "/", Status: 200}, []string{"sleep", "1h"}, "no answer"},
		{"ends", config.HTTP{Path: "/", Status: 200}, []string{"exit", "4"}, "no answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.check.Port, tt.check.Interval = port, 100*time.Millisecond
			r := b.run(t, device.RunRequest{Image: image.ID, Args: tt.args, HTTP: &tt.check, Timeout: 4 * time.Second})
			if tt.want == "" {
				if !r.HTTP.OK || r.TimedOut || r.HTTP.Tries < 2 || !strings.Contains(string(r.Stdout), "listening") {
					t.Errorf("got %+v, timed out: %t, stdout %q", r.HTTP, r.TimedOut, r.Stdout)
				}
			} else if r.HTTP.OK || !strings.Contains(r.HTTP.Problem, tt.want) {
				t.Errorf("got %+v, want %q", r.HTTP, tt.want)
			}
			if ended := tt.name == "ends"; r.Ended != ended || r.TimedOut == ended && tt.want != "" {
				t.Errorf("ended: %t, timed out: %t", r.Ended, r.TimedOut)
			}
			clean(t, e)
		})
	}
	t.Run("taken port", func(t *testing.T) {
		r := b.run(t, device.RunRequest{Image: image.ID, Args: []string{"serve", b.host}, Timeout: 10 * time.Second})
		if r.ExitCode != 1 || !strings.Contains(string(r.Stderr), "address already in use") {
			t.Errorf("exit %d, stderr %q", r.ExitCode, r.Stderr)
		}
	})
}

// What the device does when the connection goes is what matters: nothing may
// be left.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	kill := func(t *testing.T, b *bench) {
		sessions := b.server.Sessions(t)
		if len(sessions) == 0 {
			t.Fatal("no session")
		}
		for _, pid := range sessions {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	t.Run("while it runs", func(t *testing.T) {
		b := newBench(t, e, config.Device{})
		image := b.pull(t, b.ref)
		done := make(chan error, 1)
		go func() {
			_, err := b.Run(t.Context(), device.RunRequest{Image: image.ID, Args: []string{"stubborn"}, Timeout: time.Hour, Output: 1 << 10})
			done <- err
		}()
		embeddedtest.Await(t, "container", 20*time.Second, func() bool { return e.Run(t, "ps", "-q") != "" })
		kill(t, b)
		begin := time.Now()
		wantError(t, <-done, device.Unreachable, "the connection was lost")
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("noticed after %s", took)
		}
		clean(t, e) // by the device itself
		// The next run goes over a new connection.
		if r := b.run(t, device.RunRequest{Image: image.ID}); r.ExitCode != 0 || b.server.Logins() != 2 {
			t.Errorf("exit %d, %d logins", r.ExitCode, b.server.Logins())
		}
	})
	t.Run("while it pulls", func(t *testing.T) {
		b := newBench(t, e, config.Device{})
		slow := make(chan struct{})
		defer close(slow)
		host := registrytest.Serve(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
					select {
					case <-slow:
					case <-r.Context().Done():
					}
					return
				}
				next.ServeHTTP(w, r)
			})
		})
		p := here(t)
		ref := push(t, host+"/slow", p, []byte("different"))
		done := make(chan error, 1)
		go func() {
			_, err := b.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: p})
			done <- err
		}()
		embeddedtest.Await(t, "pull", 20*time.Second, func() bool { return len(pulling(t, ref)) > 0 })
		kill(t, b)
		wantError(t, <-done, device.Unreachable, "the connection was lost")
		embeddedtest.Await(t, "end of the pull on the device", 5*time.Second, func() bool { return len(pulling(t, ref)) == 0 })

		b.Spec.PullTimeout = time.Second
		begin := time.Now()
		_, err := b.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: p})
		wantError(t, err, device.PullTimeout, "longer than pull_timeout")
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("given up after %s", took)
		}
		embeddedtest.Await(t, "end of the pull on the device", 5*time.Second, func() bool { return len(pulling(t, ref)) == 0 })
	})
	t.Run("sshd stops answering", func(t *testing.T) {
		b := newBench(t, e, config.Device{})
		image := b.pull(t, b.ref)
		stopped := b.server.Sessions(t)
		for _, pid := range stopped {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		defer func() {
			for _, pid := range stopped {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}()
		begin := time.Now()
		r, err := b.Run(t.Context(), device.RunRequest{Image: image.ID, Timeout: 2 * time.Second, Output: 1 << 10})
		if took := time.Since(begin); err != nil || !r.TimedOut || took > 4*time.Second {
			t.Errorf("%+v, %v after %s; want a timeout at 2 s ± 2 s", r, err, took)
		}
	})
}

// pulling are the processes that pull ref.
func pulling(t *testing.T, ref string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(lines, func(name string) bool {
		line, err := os.ReadFile(name)
		return err != nil || !strings.Contains(string(line), ref) || filepath.Base(strings.Split(string(line), "\x00")[0]) != "docker"
	})
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{Size: "24m"})
	b := newBench(t, e, config.Device{})
	big := make([]byte, 40<<20)
	_, _ = io.ReadFull(strings.NewReader(strings.Repeat("0123456789abcdef", len(big)/16)), big)
	_, err := b.Pull(t.Context(), device.PullRequest{Ref: push(t, b.host+"/big", here(t), big), Platform: here(t)})
	wantError(t, err, device.DiskFull, "no space left")
	clean(t, e)
}

func TestWipe(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	b := newBench(t, e, config.Device{})
	ours, other := b.host+"/probe", b.host+"/other"
	image := b.pull(t, b.ref)
	foreign := b.pull(t, push(t, other, here(t), []byte("another program")))
	e.Run(t, "tag", image.ID.String(), ours+":1.0")
	e.Run(t, "tag", image.ID.String(), ours+":latest")
	e.Run(t, "create", "--name", "left", "--label", "build.archmage=smoke", "--label", "build.archmage.owner=test/bench", image.ID.String())
	e.Run(t, "create", "--name", "expired", "--label", "build.archmage=smoke", "--label", "build.archmage.until=1", image.ID.String())
	e.Run(t, "create", "--name", "busy", "--label", "build.archmage=smoke", "--label", "build.archmage.until=9999999999", foreign.ID.String())
	wipe := func(t *testing.T, req device.WipeRequest) *device.WipeReport {
		t.Helper()
		report, err := b.Wipe(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	t.Run("dry run", func(t *testing.T) {
		r := wipe(t, device.WipeRequest{Repositories: []string{ours}, DryRun: true})
		if len(r.Images) != 1 || len(r.Images[0].Names) != 3 || r.Images[0].Removed {
			t.Errorf("got %+v", r)
		}
		if len(e.Containers(t)) != 3 {
			t.Error("a dry run removed containers")
		}
	})
	t.Run("in use", func(t *testing.T) {
		e.Run(t, "create", "--name", "theirs", image.ID.String())
		r := wipe(t, device.WipeRequest{Repositories: []string{ours}})
		if len(r.Containers) != 2 || len(r.Images) != 1 || r.Images[0].Removed || !slices.Equal(r.Images[0].UsedBy, []string{"theirs"}) || r.Bytes != 0 {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("stop", func(t *testing.T) {
		r := wipe(t, device.WipeRequest{Repositories: []string{ours}, Stop: true})
		if len(r.Images) != 1 || !r.Images[0].Removed || r.Bytes <= 0 {
			t.Errorf("got %+v", r)
		}
		if left := e.Run(t, "image", "ls", "-q", "--no-trunc"); left != foreign.ID.String() {
			t.Errorf("left: %s", left)
		}
	})
	t.Run("all", func(t *testing.T) {
		e.Run(t, "rm", "busy")
		if r := wipe(t, device.WipeRequest{All: true}); len(r.Images) != 1 || !r.Images[0].Removed {
			t.Errorf("got %+v", r)
		}
		if left := e.Run(t, "image", "ls", "-a", "-q"); left != "" {
			t.Errorf("left: %s", left)
		}
	})
}
