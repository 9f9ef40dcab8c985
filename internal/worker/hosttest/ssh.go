package hosttest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

// SSH starts an sshd on the daemon's host, whose sessions find buildctl and
// with it the daemon. Options may add to its configuration.
func (d *Daemon) SSH(t testing.TB, o sshtest.Options) *sshtest.Server {
	t.Helper()
	if h := d.options.Host; h != nil {
		o.Command, o.Listen = h.Command(), h.Inner
	}
	bin := t.TempDir()
	if err := os.Symlink(d.buildctl, filepath.Join(bin, "buildctl")); err != nil {
		t.Fatal(err)
	}
	o.Config += fmt.Sprintf("\nSetEnv PATH=%s:/usr/bin:/bin BUILDKIT_HOST=%s\n", bin, d.Unix())
	return sshtest.Start(t, o)
}
