// Package devtools tests archmage itself; only magefile.go imports it.
package devtools

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archmage-build/archmage/internal/embedded"
)

// packages are the system parts that tests run, by Debian's names.
var packages = []string{
	"chromium",
	"bash-completion", // completion, typed into real shells
	"zsh",             //
	"binfmt-support",  // registers the emulators
	"busybox-static",  // a shell for RUN steps FROM scratch
	"ca-certificates", //
	"fish",            // login shells that are no sh
	"tcsh",            //
	"iptables",        // a Docker Engine's networks
	"procps",          // ps
	"docker.io",       // a Docker Engine, and `docker manifest`
	"gcc",             // runc enters namespaces in C
	// C programs for the audit's corpus.
	"gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross",
	"gcc-arm-linux-gnueabi", "libc6-dev-armel-cross",
	"gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross",
	"git",
	"iproute2", // network namespaces, each a machine of its own
	"jq",
	"libc6-dev",
	"openssh-client",
	"openssh-server",
	"podman",
	"qemu-user-static", // foreign binaries
	"skopeo",           // reads what we write
	"uidmap",           // a rootless worker
}

// Setup brings what the tests run: system parts by apt on Debian as root, and
// the embedded daemons. Elsewhere it says what is missing; the tests that need
// it are skipped and say so.
func Setup(ctx context.Context) error {
	missing := missingPackages(ctx)
	if len(missing) > 0 {
		if err := install(ctx, missing); err != nil {
			return err
		}
	}
	if err := addUser(ctx); err != nil {
		return err
	}
	if err := registerEmulators(ctx); err != nil {
		return err
	}
	return compileParts(ctx)
}

// registerEmulators makes the kernel run foreign binaries through QEMU, where
// root may and no service has done it.
func registerEmulators(ctx context.Context) error {
	const dir = "/proc/sys/fs/binfmt_misc"
	if _, err := exec.LookPath("update-binfmts"); os.Getuid() != 0 || err != nil {
		return nil
	}
	if _, err := os.Stat(dir + "/register"); err != nil {
		if out, err := exec.CommandContext(ctx, "mount", "-t", "binfmt_misc", "none", dir).CombinedOutput(); err != nil {
			say("no binfmt_misc here, so foreign binaries do not run: %s", strings.TrimSpace(string(out)))
			return nil
		}
	}
	if out, err := exec.CommandContext(ctx, "update-binfmts", "--enable").CombinedOutput(); err != nil {
		return fmt.Errorf("registering QEMU's emulators: %w: %s", err, out)
	}
	return nil
}

// tester is an ordinary user that root becomes to test a rootless worker.
const tester = "archmage-tester"

// addUser makes tester, with subordinate ids, where root may and nobody has
// any.
func addUser(ctx context.Context) error {
	if data, err := os.ReadFile("/etc/subuid"); os.Getuid() != 0 || err != nil || len(data) > 0 {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "useradd", "--create-home", tester).CombinedOutput(); err != nil {
		return fmt.Errorf("adding the user %s: %w: %s", tester, err, out)
	}
	say("added the user %s, for the rootless worker", tester)
	return nil
}

// missingPackages asks dpkg; nil where there is none.
func missingPackages(ctx context.Context) []string {
	args := append([]string{"-W", "-f", "${Package} ${Status}\n"}, packages...)
	out, err := exec.CommandContext(ctx, "dpkg-query", args...).Output()
	if err != nil && len(out) == 0 {
		if _, lookErr := exec.LookPath("dpkg-query"); lookErr != nil {
			say("this is not Debian: tests that need other programs are skipped where those are missing")
			return nil
		}
	}
	installed := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		name, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		installed[name] = strings.HasSuffix(status, " installed")
	}
	return slices.DeleteFunc(slices.Clone(packages), func(p string) bool { return installed[p] })
}

func install(ctx context.Context, missing []string) error {
	if os.Getuid() != 0 {
		say("not root, so not installed: %s", strings.Join(missing, " "))
		say("install them (apt-get install %s) to run the tests that are skipped", strings.Join(missing, " "))
		return nil
	}
	say("installing by apt: %s", strings.Join(missing, " "))
	start := time.Now()
	for _, args := range [][]string{
		{"update", "-qq"},
		append([]string{"install", "-qq", "-y", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		// Services belong to the tests, not to the machine.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil && args[0] == "install" {
			return fmt.Errorf("running apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	say("installed in %s", time.Since(start).Round(time.Second))
	return nil
}

// compileParts compiles the embedded daemons, so that no test waits for them.
func compileParts(ctx context.Context) error {
	last := map[string]time.Time{}
	var mu sync.Mutex
	m, err := embedded.New(os.Environ(), func(e embedded.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Phase != embedded.Compiled && time.Since(last[e.Subject]) < 10*time.Second {
			return
		}
		last[e.Subject] = time.Now()
		say("%s", e)
	})
	if err != nil {
		return err
	}
	for _, p := range []embedded.Part{embedded.Registry, embedded.Runc, embedded.Buildkitd, embedded.Rootlesskit} {
		if _, err := m.Part(ctx, p); err != nil {
			if os.Getenv("CI") == "true" {
				return err
			}
			say("%v: the tests that need it are skipped", err)
		}
	}
	return nil
}

func say(format string, args ...any) { fmt.Printf("test: "+format+"\n", args...) }
