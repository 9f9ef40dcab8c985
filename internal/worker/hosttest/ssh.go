package hosttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

// SSH starts an sshd on the daemon's host, whose sessions find buildctl and
// with it the daemon. Options may add to its
// configuration.
func (d *Daemon) SSH(t testing.TB, o sshtest.Options) *sshtest.Server {
	t.Helper()
	o.Host = d.options.Host
	bin := t.TempDir()
	if err := os.Symlink(d.buildctl, filepath.Join(bin, "buildctl")); err != nil {
		t.Fatal(err)
	}
	o.Env = map[string]string{"PATH": bin + ":/usr/bin:/bin", "BUILDKIT_HOST": d.Unix()}
	return sshtest.Start(t, o)
}
