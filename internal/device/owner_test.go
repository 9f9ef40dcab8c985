package device_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// as is the same device, used by another run.
func (b *bench) as(t *testing.T, o device.Options) *device.Device {
	t.Helper()
	o.SSHConfig = b.server.Config
	d := device.New(b.Spec, o)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// Runs that share a device, whatever they have in common, leave each other's
// containers and images alone, and clean up after those that have ended.
func TestOthers(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	b := newBench(t, e, config.Device{})
	repo := strings.Split(b.ref, "@")[0]
	live := []string{"aa", "bb"}
	both := func() []string { return live }
	for name, tt := range map[string]struct {
		mine, theirs device.Options
	}{
		"another workspace":  {device.Options{Owner: "one", Run: "aa"}, device.Options{Owner: "two", Run: "bb"}},
		"the same path":      {device.Options{Owner: "a b", Run: "aa"}, device.Options{Owner: "a c", Run: "aa"}},
		"the same workspace": {device.Options{Owner: "one", Run: "aa", Live: both}, device.Options{Owner: "one", Run: "bb", Live: both}},
	} {
		t.Run(name, func(t *testing.T) {
			theirs, mine := b.as(t, tt.theirs), b.as(t, tt.mine)
			image, err := theirs.Pull(t.Context(), device.PullRequest{Ref: b.ref, Platform: here(t)})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				r, err := theirs.Run(t.Context(), device.RunRequest{Image: image.ID, Args: []string{"stubborn"}, Timeout: 25 * time.Second, Output: 1})
				if err == nil && !r.TimedOut {
					err = errors.New("it ended before its time: " + string(r.Stderr))
				}
				ended <- err
			}()
			embeddedtest.Await(t, "their container", 20*time.Second, func() bool { return len(e.Containers(t)) == 1 })
			for range 2 {
				if removed, err := mine.Sweep(t.Context()); err != nil || len(removed) > 0 {
					t.Errorf("it removed %q, %v", removed, err)
				}
				r, err := mine.Wipe(t.Context(), device.WipeRequest{Repositories: []string{repo}})
				if err != nil || len(r.Images) != 1 || r.Images[0].Removed || r.Images[0].Problem == "" || r.Bytes != 0 {
					t.Errorf("wiped %+v, %v", r, err)
				}
				if r, err = mine.Wipe(t.Context(), device.WipeRequest{All: true}); err != nil || r.Images[0].Removed {
					t.Errorf("wiped all: %+v, %v", r, err)
				}
			}
			if got := e.Containers(t); len(got) != 1 {
				t.Errorf("containers: %q", got)
			}
			if _, err := mine.Pull(t.Context(), device.PullRequest{Ref: b.ref, Platform: here(t)}); err != nil {
				t.Error(err)
			}
			if err := mine.Close(); err != nil { // gives up its own only
				t.Error(err)
			}
			if got := e.Run(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"); strings.Count(got, "archmage.invalid/held:") != 1 {
				t.Errorf("names: %s", got)
			}
			if err := <-ended; err != nil {
				t.Errorf("their run: %v", err)
			}
			if err := theirs.Close(); err != nil {
				t.Error(err)
			}
			if got := e.Run(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"); strings.Contains(got, "archmage.invalid") {
				t.Errorf("names: %s", got)
			}
			if r, err := mine.Wipe(t.Context(), device.WipeRequest{Repositories: []string{repo}}); err != nil || len(r.Images) != 1 || !r.Images[0].Removed {
				t.Errorf("afterwards it wiped %+v, %v", r, err)
			}
		})
	}
	t.Run("a run that ended", func(t *testing.T) {
		image, err := b.as(t, device.Options{Owner: "one", Run: "dead"}).Pull(t.Context(), device.PullRequest{Ref: b.ref, Platform: here(t)})
		if err != nil {
			t.Fatal(err)
		}
		e.Run(t, "create", "--name", "left", "--label", "build.archmage=smoke", "--label", "build.archmage.owner=one/bench",
			"--label", "build.archmage.run=dead", "--label", "build.archmage.until=9999999999", image.ID.String())
		mine := b.as(t, device.Options{Owner: "one", Run: "aa", Live: both})
		r, err := mine.Wipe(t.Context(), device.WipeRequest{Repositories: []string{repo}})
		if err != nil || len(r.Containers) != 1 || len(r.Images) != 1 || !r.Images[0].Removed {
			t.Errorf("wiped %+v, %v", r, err)
		}
		if left := e.Run(t, "image", "ls", "-a", "-q"); left != "" {
			t.Errorf("left: %s", left)
		}
	})
	t.Run("a time that is over", func(t *testing.T) {
		image := b.pull(t, b.ref)
		e.Run(t, "tag", image.ID.String(), "archmage.invalid/held:0123456789abcdef-cc-1-00")
		e.Run(t, "tag", image.ID.String(), "archmage.invalid/held:0123456789abcdef-cc-9999999999-00")
		if _, err := b.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		got := strings.Fields(e.Run(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"))
		if !slices.Contains(got, "archmage.invalid/held:0123456789abcdef-cc-9999999999-00") || slices.Contains(got, "archmage.invalid/held:0123456789abcdef-cc-1-00") {
			t.Errorf("names: %q", got)
		}
		r, err := b.Wipe(t.Context(), device.WipeRequest{Repositories: []string{repo}, Stop: true})
		if err != nil || len(r.Images) != 1 || !r.Images[0].Removed {
			t.Errorf("with -stop it wiped %+v, %v", r, err)
		}
	})
}

// Two runs that pull, run and wipe one image at the same time both succeed.
func TestOthersRace(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	b := newBench(t, e, config.Device{})
	repo := strings.Split(b.ref, "@")[0]
	var all sync.WaitGroup
	for _, owner := range []string{"one", "two"} {
		d := b.as(t, device.Options{Owner: owner, Run: "aa"})
		all.Go(func() {
			for range 6 {
				if _, err := d.Wipe(t.Context(), device.WipeRequest{Repositories: []string{repo}}); err != nil {
					t.Errorf("%s: %v", owner, err)
				}
				image, err := d.Pull(t.Context(), device.PullRequest{Ref: b.ref, Platform: here(t)})
				if err != nil {
					t.Errorf("%s: %v", owner, err)
					continue
				}
				if r, err := d.Run(t.Context(), device.RunRequest{Image: image.ID, Timeout: time.Minute, Output: 1 << 10}); err != nil || !r.Ended {
					t.Errorf("%s: %v: %+v", owner, err, r)
				}
			}
			if err := d.Close(); err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	clean(t, e)
}

// What run_args give a container of the device's own is one run's at a time.
func TestLease(t *testing.T) {
	t.Parallel()
	ns := sshtest.NewHost(t) // where the engine may publish ports
	e := devicetest.Docker(t, devicetest.EngineOptions{Host: ns})
	host := registrytest.Serve(t)
	p := here(t)
	ref := push(t, host+"/probe", p, devicetest.Program(t, p))
	var group errgroup.Group
	for i := range 3 {
		s := sshtest.Start(t, sshtest.Options{Host: ns, Env: map[string]string{"DOCKER_HOST": e.Socket}})
		spec := config.Device{Name: "bench", Host: s.Alias, RunArgs: []string{"--publish=127.0.0.1:9999:1"}}
		d := device.New(&spec, device.Options{SSHConfig: s.Config, Owner: fmt.Sprintf("runner%d", i), Run: fmt.Sprintf("run%d", i)})
		t.Cleanup(func() { _ = d.Close() })
		group.Go(func() error {
			image, err := d.Pull(t.Context(), device.PullRequest{Ref: ref, Platform: p})
			if err != nil {
				return err
			}
			for range 2 {
				r, err := d.Run(t.Context(), device.RunRequest{Image: image.ID, Platform: p, Args: []string{"sleep", "1s"}, Timeout: 20 * time.Second, Output: 1 << 10})
				if err != nil || r.ExitCode != 0 || r.TimedOut {
					return fmt.Errorf("%+v, %s: %w", r, r.Stderr, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	clean(t, e)
}
