package tasks_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

// TestDevices is a user's session with a device: a Docker Engine behind SSH.
func TestDevices(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	server := sshtest.Start(t, sshtest.Options{Env: map[string]string{"DOCKER_HOST": e.Socket}})
	s := newSite(t, compiled(t), embeddedtest.Registry(t))
	s.env = append(s.env, "ARCHMAGE_SSH_CONFIG="+server.Config)
	const text = `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["REPO:1"]
  labels    = { word = "WORD" }
  dockerfile-inline = <<EOT
FROM scratch
COPY busybox /bin/busybox
ENTRYPOINT ["/bin/busybox"]
EOT
  smoke {
    command = ["echo", "WORD"]
    expect  { stdout = ["^hello$"] }
  }
}
device "gone" {
  host     = "nobody-there.invalid"
  optional = true
}
`
	targets := func(word string) {
		s.targets(t, strings.ReplaceAll(text, "WORD", word)+workerBlock("here", embeddedtest.Worker(t).Address)+
			"device \"door\" { host = \""+server.Alias+"\" }\n")
	}
	ours := func() bool { return strings.Contains(e.Run(t, "images", "--no-trunc"), s.repo) }
	told := func(code int, args ...string) string {
		t.Helper()
		r := s.start(t, args...)
		return r.wait(t, code) + r.stdout.String()
	}

	targets("hello")
	said := told(0, "devices")
	wantText(t, said, "door", "linux/amd64", "docker", server.Fingerprint, "ready", "unreachable, optional", "the name is not known")
	var views []struct{ Name, Error string }
	r := s.start(t, "devices", "-json", "-device=door")
	r.wait(t, 0)
	if err := json.Unmarshal([]byte(r.stdout.String()), &views); err != nil || len(views) != 1 || views[0].Name != "door" || views[0].Error != "" {
		t.Errorf("devices -json -device=door: %+v, %v", views, err)
	}

	// A broken image stops the release; mended, it is promoted.
	targets("broken")
	wantText(t, told(5, "release"), "failed", "| broken", "no tag has moved")
	if s.tagged(t, "1") {
		t.Error("the tag was moved")
	}
	targets("hello")
	wantText(t, told(0, "release"), "passed", "unreachable", "@sha256:")
	wantText(t, told(0, "smoke", "-device=door"), "passed")
	if !ours() {
		t.Fatal("the image is not on the device")
	}

	// Only looked at, in use by a container of somebody else's, and removed.
	wantText(t, told(0, "wipe", "-dryRun", "-device=door"), "WOULD GO", s.repo)
	image := strings.Fields(e.Run(t, "images", "-q", "--no-trunc"))[0]
	e.Run(t, "run", "-d", "--network=none", "--name=neighbour", image, "sleep", "600")
	wantText(t, told(0, "wipe", "-device=door"), "kept: in use by neighbour; -stop ends it")
	if !ours() || len(e.Containers(t)) != 1 {
		t.Error("what is in use was taken away")
	}
	wantText(t, told(2, "wipe", "-all", "-device=door"), "say -yes")
	wantText(t, told(0, "wipe", "-stop", "-device=door"), s.repo, "ended neighbour, which used it")
	if ours() || len(e.Containers(t)) != 0 {
		t.Errorf("left: %s %v", e.Run(t, "images"), e.Containers(t))
	}
}
