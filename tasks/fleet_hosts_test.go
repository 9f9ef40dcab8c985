package tasks_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

// TestFleetHosts runs releases over workers on hosts of their own, which are
// cut off, fill up, and reach no registry but through SSH.
func TestFleetHosts(t *testing.T) {
	t.Parallel()
	binary := compiled(t)
	t.Run("flows", func(t *testing.T) { // so that the binary outlives them
		for name, flow := range map[string]func(*testing.T, string){
			"cut": fleetCut, "full": fleetFull, "fullStep": fleetFullStep, "ssh": fleetSSH, "optional": fleetOptional,
		} {
			t.Run(name, func(t *testing.T) { flow(t, binary) })
		}
	})
}

// noise writes a file that does not compress.
func noise(t *testing.T, path string, size int) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A worker whose cable is pulled in the middle of its push loses the build; the
// image is there once, and whole.
func fleetCut(t *testing.T, binary string) {
	t.Parallel()
	near, far := sshtest.NewHost(t), sshtest.NewHost(t)
	relay := hosttest.NewRelay(t, near.Outer+":0", embeddedtest.Registry(t))
	start := func(h *sshtest.Host) *hosttest.Daemon {
		return hosttest.Start(t, hosttest.Options{Host: h, Port: 1234, Plain: []string{relay.Address}, Platforms: []string{"linux/arm64"}})
	}
	a, b := start(near), start(far)
	s := newSite(t, binary, relay.Address)
	const size = 8 << 20
	noise(t, filepath.Join(s.dir, "noise"), size)
	s.targets(t, `target "app" {
  tags      = ["REPO:1"]
  platforms = ["linux/arm64"]
  dockerfile-inline = "FROM scratch\nCOPY noise /noise"
}
registry "`+relay.Address+`" { insecure = true }
`+workerBlock("far", b.TCP)+workerBlock("near", a.TCP))
	relay.Rate.Store(1 << 20)
	r := s.start(t, "release")
	r.until(t, "the push", func() bool { return relay.Received.Load() > 2<<20 })
	far.Cut(t)
	cut := time.Now()
	relay.Rate.Store(0)
	text := r.wait(t, 0)
	wantText(t, text, "worker far is lost", "no sign of life")
	if took := time.Since(cut); took > 20*time.Second {
		t.Errorf("it went on for %s after the cut", took)
	}
	if got := s.record(t)["app linux/arm64"]; got.Worker != "near" || !got.Native {
		t.Errorf("built by %+v", got)
	}
	if !s.tagged(t, "1") {
		t.Error("the tag is missing")
	}
}

// A worker whose disk is full loses its build to one with room.
func fleetFull(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{Size: "16m"}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	noise(t, filepath.Join(s.dir, "noise"), 32<<20)
	s.targets(t, `target "app" {
  tags = ["REPO:1"]
  dockerfile-inline = "FROM scratch\nCOPY noise /noise"
}
`+workerBlock("small", a.Unix())+workerBlock("large", b.Unix()))
	text := s.run(t, 0, "release")
	wantText(t, text, "worker small is lost to app linux/amd64", "no space left on device")
	if got := s.record(t)["app linux/amd64"]; got.Worker != "large" {
		t.Errorf("built by %+v", got)
	}
}

// The same where a step of the Dockerfile is what finds no room.
func fleetFullStep(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{Size: "16m"}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, `target "app" {
  tags = ["REPO:1"]
  dockerfile-inline = <<EOT
FROM scratch
COPY busybox /busybox
RUN ["/busybox", "dd", "if=/dev/zero", "of=/zero", "bs=1M", "count=32"]
EOT
}
`+workerBlock("small", a.Unix())+workerBlock("large", b.Unix()))
	text := s.run(t, 0, "release")
	if got := s.record(t)["app linux/amd64"]; got.Worker != "large" {
		t.Errorf("built by %+v", got)
	}
	if strings.Contains(text, "on small") {
		wantText(t, text, "worker small is lost to app linux/amd64, which it has no room for", "moved away from worker small")
	}
}

// Four machines behind SSH, one for each platform, release into a registry on
// this machine's loopback.
func fleetSSH(t *testing.T, binary string) {
	t.Parallel()
	s := newSite(t, binary, embeddedtest.Registry(t))
	platforms := []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"}
	var text, conf strings.Builder
	for i, p := range platforms {
		d := hosttest.Start(t, hosttest.Options{Host: sshtest.NewHost(t), Platforms: []string{p}})
		server := d.SSH(t, sshtest.Options{})
		data, err := os.ReadFile(server.Config)
		if err != nil {
			t.Fatal(err)
		}
		conf.Write(data)
		text.WriteString(workerBlock(fmt.Sprintf("rack%d", i), "ssh://"+server.Alias, fmt.Sprintf("platforms = [%q]", p)))
	}
	file := filepath.Join(s.dir, "ssh_config")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "ARCHMAGE_SSH_CONFIG="+file)
	if err := os.CopyFS(filepath.Join(s.dir, "hello"), os.DirFS(filepath.Join(root(t), "testdata", "hello"))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"GOPATH", "GOMODCACHE", "GOCACHE"} { // HOME is another
		s.env = append(s.env, key+"="+goEnv(t, key))
	}
	text.WriteString(`release { emulation = "forbid" }
target "base" {
  context = "hello"
  platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"]
  prepare { command = ["go", "build", "-trimpath", "-buildvcs=false", "-o", "dist/$TARGETPLATFORM/hello", "."] }
}
target "app" {
  tags      = ["REPO:1"]
  platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"]
  contexts  = { base = "target:base" }
  dockerfile-inline = "FROM base\nLABEL who=app"
}
`)
	s.targets(t, text.String())
	s.run(t, 0, "release", "-targets=app")
	got := s.record(t)
	for i, p := range platforms {
		for _, target := range []string{"base ", "app "} {
			if c := got[target+p]; c.Worker != fmt.Sprintf("rack%d", i) || !c.Native {
				t.Errorf("%s%s was built by %+v", target, p, c)
			}
		}
	}
	if !s.tagged(t, "1") {
		t.Error("the tag is missing")
	}
	if out, err := exec.Command("pgrep", "-f", file).Output(); err == nil {
		t.Errorf("ssh processes are left: %s", out)
	}
}

// An optional platform that nobody may build is missing by name; one that is
// not optional ends the release before it begins.
func fleetOptional(t *testing.T, binary string) {
	t.Parallel()
	a := hosttest.Start(t, hosttest.Options{Platforms: []string{"linux/amd64"}})
	s := newSite(t, binary, embeddedtest.Registry(t))
	rest := `
  tags      = ["REPO:1"]
  platforms = ["linux/amd64", "linux/s390x"]
  dockerfile-inline = "FROM scratch\nCOPY targets.hcl /x"
}
release { emulation = "forbid" }
`
	s.targets(t, `target "app" {`+rest+workerBlock("a", a.Unix(), `platforms = ["linux/amd64"]`))
	wantText(t, s.run(t, 2, "release"), "No worker may build linux/s390x", "Workers: a (linux/amd64)", "mark it optional")
	s.targets(t, `target "app" {`+rest+workerBlock("a", a.Unix()))
	wantText(t, s.run(t, 7, "release"), "no worker for app linux/s390x: a does not build it natively, and emulation is forbidden")
	if s.tagged(t, "1") {
		t.Error("a tag was moved")
	}
	s.targets(t, "target \"app\" {\n  platform \"linux/s390x\" { optional = true }"+rest+workerBlock("a", a.Unix()))
	wantText(t, s.run(t, 0, "release"), "missing: app linux/s390x is optional and missing from this release")
	if got := s.record(t); len(got) != 1 || !s.tagged(t, "1") {
		t.Errorf("the record: %+v", got)
	}
}
