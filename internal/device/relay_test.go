package device_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// badLine passes connections on to a server, and breaks each of them.
type badLine struct {
	port int
	// bytes is what passed to the server, over connections.
	bytes       atomic.Int64
	connections atomic.Int64
}

// newBadLine breaks a connection once it has taken limit bytes to the server, or
// at its age, if those are not 0, and lets through rate bytes a second.
func newBadLine(t *testing.T, to string, limit int64, age time.Duration, rate int64) *badLine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &badLine{port: l.Addr().(*net.TCPAddr).Port}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.connections.Add(1)
			open.Go(func() { b.pass(c, to, limit, age, rate) })
		}
	})
	return b
}

func (b *badLine) pass(c net.Conn, to string, limit int64, age time.Duration, rate int64) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		_ = c.Close()
		return
	}
	end := sync.OnceFunc(func() { _ = c.Close(); _ = server.Close() })
	if age > 0 {
		defer time.AfterFunc(age, end).Stop()
	}
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(c, server); end() }()
	buf := make([]byte, 4<<10)
	for passed := int64(0); limit == 0 || passed < limit; {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := server.Write(buf[:n]); err != nil {
				break
			}
			passed += int64(n)
			b.bytes.Add(int64(n))
			if rate > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(rate)) // the line's own pace
			}
		}
		if err != nil {
			break
		}
	}
	end()
	<-done
}

// -bad-line pulls an image of so many MiB at 64 kbit/s, over connections of 20 s.
var slowSize = flag.Int("bad-line", 0, "pull `MiB` over a line of 64 kbit/s that breaks every 20 s")

// TestPullOverBadLine pulls an image that is larger than any connection lets
// through.
func TestPullOverBadLine(t *testing.T) {
	t.Parallel()
	for _, runtime := range []string{"docker", "podman"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			const limit, size = 200 << 10, 1 << 20
			d, line, home := overBadLine(t, runtime, limit, 0, 0)
			p := here(t)
			first, second, program := layered(t, registrytest.Serve(t)+"/probe", p, size)
			for i, ref := range []string{first, second} {
				before := line.bytes.Load()
				image, err := d.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: p})
				if err != nil {
					t.Fatalf("image %d: %v", i+1, err)
				}
				moved := line.bytes.Load() - before
				t.Logf("image %d: %d KiB over %d connections", i+1, moved>>10, line.connections.Load())
				// The first attempt is lost, and a chunk now and then; the second image shares its first layers.
				most := int64(size + size/2 + 2*limit)
				if i == 0 {
					most += int64(program + program/2)
				}
				if moved > most {
					t.Errorf("image %d took %d bytes, more than %d", i+1, moved, most)
				}
				r, err := d.Run(t.Context(), device.RunRequest{Image: image.ID, Platform: p, Args: []string{"version"}, Timeout: time.Minute, Output: 1 << 10})
				if err != nil || !strings.HasPrefix(string(r.Stdout), "probe linux/") {
					t.Errorf("image %d: %v, %q %q", i+1, err, r.Stdout, r.Stderr)
				}
			}
			if n := line.connections.Load(); n < 2*size/limit {
				t.Errorf("%d connections: the line was not bad", n)
			}
			left, err := filepath.Glob(filepath.Join(home, ".cache", "archmage", "blobs", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left on the device: %q, %v", left, err)
			}
		})
	}
}

// TestPullAtSnailsPace is the same by time, as a line in the field is.
func TestPullAtSnailsPace(t *testing.T) {
	if *slowSize == 0 {
		t.Skip("takes an hour: -bad-line=20")
	}
	begin := time.Now()
	d, line, _ := overBadLine(t, "docker", 0, 20*time.Second, 8<<10)
	p := here(t)
	ref, _, _ := layered(t, registrytest.Serve(t)+"/probe", p, *slowSize<<20)
	if _, err := d.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: p}); err != nil {
		t.Fatalf("after %s, %d KiB over %d connections: %v", time.Since(begin), line.bytes.Load()>>10, line.connections.Load(), err)
	}
	t.Logf("%d MiB and the program arrived in %s: %d KiB over %d connections", *slowSize, time.Since(begin), line.bytes.Load()>>10, line.connections.Load())
}

func overBadLine(t *testing.T, runtime string, limit int64, age time.Duration, rate int64) (d *device.Device, line *badLine, home string) {
	t.Helper()
	ns := sshtest.NewHost(t)
	home = t.TempDir()
	env := map[string]string{"HOME": home, "XDG_CACHE_HOME": ""}
	spec := config.Device{Name: "bench", Runtime: runtime}
	if runtime == "docker" {
		env["DOCKER_HOST"] = devicetest.Docker(t, devicetest.EngineOptions{Host: ns}).Socket
	} else {
		podmanIn(t, env)
		spec.RunArgs = []string{"--network=host"}
	}
	s := sshtest.Start(t, sshtest.Options{Host: ns, Env: env})
	line = newBadLine(t, net.JoinHostPort(s.Addr, fmt.Sprint(s.Port)), limit, age, rate)
	s.Configure(t, fmt.Sprintf("  HostName 127.0.0.1\n  Port %d\n  HostKeyAlias %s", line.port, s.Addr))
	client, err := registry.New(nil, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec.Host = s.Alias
	d = device.New(&spec, device.Options{SSHConfig: s.Config, Owner: "test", Images: client})
	t.Cleanup(func() { _ = d.Close() })
	return d, line, home
}

// layered pushes two images: the first of the probe and a layer of random bytes,
// the second with another such layer on top.
func layered(t *testing.T, repo string, p ocispecs.Platform, size int) (first, second string, program int) {
	t.Helper()
	cfg, probe := devicetest.Image(t, p, devicetest.Program(t, p))
	layers := [][]byte{probe}
	var refs []string
	for i := range 2 {
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("ballast%d", i), Mode: 0o644, Size: int64(size)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, rand.Reader, int64(size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		// Packed without gaining anything; the bytes are random.
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(layer.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, digest.FromBytes(layer.Bytes()))
		layers = append(layers, packed.Bytes())
		refs = append(refs, repo+"@"+registrytest.Push(t, repo, registrytest.Spec{Config: cfg, Layers: layers}).Manifest.Digest.String())
	}
	return refs[0], refs[1], len(probe)
}

// podmanIn gives a podman storage of its own.
func podmanIn(t *testing.T, env map[string]string) {
	t.Helper()
	embeddedtest.Program(t, "podman", "podman")
	embeddedtest.Need(t, os.Getuid() == 0, "a podman with storage of its own is set up for root")
	dir := t.TempDir()
	env["CONTAINERS_CONF"], env["CONTAINERS_STORAGE_CONF"] = filepath.Join(dir, "containers.conf"), filepath.Join(dir, "storage.conf")
	for name, text := range map[string]string{
		// Limits that a container may not raise are no reason to fail.
		env["CONTAINERS_CONF"]:         "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
		env["CONTAINERS_STORAGE_CONF"]: "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + dir + "/root\"\nrunroot = \"" + dir + "/run\"\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
