package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded"
)

// BuildKitImage runs where "auto" finds a Docker Engine. It is of the version
// that the embedded worker is compiled from.
const BuildKitImage = "moby/buildkit:" + embedded.BuildKitVersion

// container is the name of that container, and of the volume with its cache.
const container = "archmage-buildkit"

// probeTimeout bounds each question of "auto": is somebody there?
const probeTimeout = 3 * time.Second

// Finder resolves the address "auto".
type Finder struct {
	Machine *embedded.Machine
	Getenv  func(string) string
	// Say is told what was found and why, one line each.
	Say func(string)
}

// Find gives the address of a daemon: what $BUILDKIT_HOST names, a BuildKit
// socket that answers, a Docker Engine with a BuildKit container, else the
// embedded worker.
func (f *Finder) Find(ctx context.Context) (string, error) {
	if host := f.Getenv("BUILDKIT_HOST"); host != "" {
		return host, nil
	}
	for _, path := range f.sockets() {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		address := "unix://" + path
		if f.answers(ctx, address) {
			f.Say("BuildKit answers at " + address)
			return address, nil
		}
	}
	address, err := f.docker(ctx)
	if err == nil {
		return address, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if !errors.Is(err, errNoDocker) {
		f.Say(fmt.Sprintf("Docker Engine passed over: %v", err))
	}
	d, err := f.Machine.StartWorker(ctx)
	return d.Address, err
}

func (f *Finder) sockets() []string {
	out := []string{"/run/buildkit/buildkitd.sock"}
	if dir := f.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		out = append(out, filepath.Join(dir, "buildkit", "buildkitd.sock"))
	}
	return out
}

func (f *Finder) answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	w, err := Connect(ctx, &config.Worker{Name: "auto"}, address, Options{})
	if err != nil {
		return false
	}
	_ = w.Close() // it was only asked
	return true
}

var errNoDocker = errors.New("there is no Docker Engine")

// docker starts BuildKit in the Docker Engine, or finds it started. The host's
// network lets it reach a registry on loopback.
func (f *Finder) docker(ctx context.Context) (string, error) {
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := run(probe, "version", "--format", "{{.Server.Version}}"); err != nil {
		return "", errNoDocker
	}
	address := "docker-container://" + container
	state, err := run(ctx, "container", "inspect", "--format", "{{.State.Running}}", container)
	if err == nil && state == "true" {
		return address, nil
	}
	if err == nil {
		_, err = run(ctx, "start", container)
	} else {
		err = f.startContainer(ctx)
	}
	if err != nil {
		return "", err
	}
	return address, f.ready(ctx, address)
}

func (f *Finder) startContainer(ctx context.Context) error {
	image := f.Getenv("ARCHMAGE_BUILDKIT_IMAGE")
	if image == "" {
		image = BuildKitImage
	}
	exact, err := pinned(ctx, image)
	if err != nil {
		return err
	}
	if strings.Contains(exact, "@") {
		image += " (" + exact + ")"
	}
	f.Say("starting " + image + " in the Docker Engine")
	_, err = run(ctx, "run", "--detach", "--privileged", "--network=host", "--name="+container,
		"--label=build.archmage=worker", "--volume="+container+":/var/lib/buildkit", exact)
	return err
}

// pinned names an image by digest, pulling it if need be: what is said to start
// is what starts, though the tag may move meanwhile. One that was never in a
// registry has its ID alone.
func pinned(ctx context.Context, image string) (string, error) {
	look := func() (string, error) {
		return run(ctx, "image", "inspect", "--format", "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}", image)
	}
	if ref, err := look(); err == nil {
		return ref, nil
	}
	if _, err := run(ctx, "pull", "--quiet", image); err != nil {
		return "", err
	}
	return look()
}

// ready waits until the daemon in the container answers.
func (f *Finder) ready(ctx context.Context, address string) error {
	deadline := time.Now().Add(ConnectTimeout)
	for !f.answers(ctx, address) {
		if time.Now().After(deadline) {
			return fmt.Errorf("BuildKit in the container %s does not answer; see `docker logs %s`", container, container)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// StopContainer removes the container that Find started; its cache stays in
// the volume of the same name. It reports whether there was one.
func StopContainer(ctx context.Context) (bool, error) {
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	label, err := run(probe, "container", "inspect", "--format", `{{index .Config.Labels "build.archmage"}}`, container)
	if err != nil || label != "worker" {
		return false, nil
	}
	_, err = run(ctx, "rm", "--force", container)
	return err == nil, err
}

// run calls the docker command and returns its trimmed output.
func run(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("docker %s: %s", args[0], lines[len(lines)-1])
	}
	return strings.TrimSpace(stdout.String()), nil
}
