package worker_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/worker"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

// sshConfig writes a client configuration of several servers' and lines of its
// own, which come first and so win.
func sshConfig(t *testing.T, lines string, servers ...*sshtest.Server) worker.Options {
	t.Helper()
	for _, s := range servers {
		data, err := os.ReadFile(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		lines += "\n" + string(data)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return worker.Options{SSHConfig: path}
}

// A worker on a host of its own is reached by what OpenSSH offers: an alias, an
// agent, a jump host, a socket's path.
func TestSSH(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHost(t)
	d := hosttest.Start(t, hosttest.Options{Host: h, Platforms: []string{"linux/arm64"}})
	s := d.SSH(t, sshtest.Options{})
	jump := sshtest.Start(t, sshtest.Options{})

	t.Run("alias", func(t *testing.T) {
		t.Parallel()
		w := solves(t, &config.Worker{Address: "ssh://" + s.Alias}, sshConfig(t, "", s))
		if got := config.FormatPlatform(w.Host); got != "linux/arm64" {
			t.Errorf("it is %s", got)
		}
	})
	t.Run("user and port", func(t *testing.T) {
		t.Parallel()
		solves(t, &config.Worker{Address: fmt.Sprintf("ssh://root@%s:%d", s.Alias, s.Port)}, sshConfig(t, "", s))
	})
	t.Run("socket", func(t *testing.T) {
		t.Parallel()
		solves(t, &config.Worker{Address: "ssh://" + s.Alias + d.Socket()}, sshConfig(t, "", s))
		refuses(t, &config.Worker{Address: "ssh://" + s.Alias + "/run/no/buildkitd.sock"}, sshConfig(t, "", s), "buildkitd does not run on the host, or its socket lies elsewhere")
	})
	t.Run("jump host", func(t *testing.T) {
		t.Parallel()
		o := sshConfig(t, "Host "+s.Alias+"\n  ProxyCommand ssh -F "+jump.Config+" -o BatchMode=yes -W %h:%p "+jump.Alias+"\n", s)
		solves(t, &config.Worker{Address: "ssh://" + s.Alias}, o)
	})
	t.Run("ProxyJump", func(t *testing.T) {
		t.Parallel()
		solves(t, &config.Worker{Address: "ssh://" + s.Alias}, sshConfig(t, "Host "+s.Alias+"\n  ProxyJump "+jump.Alias+"\n", s, jump))
	})
	t.Run("unreachable jump host", func(t *testing.T) {
		t.Parallel()
		gone := sshtest.Start(t, sshtest.Options{})
		gone.Kill()
		o := sshConfig(t, "Host "+s.Alias+"\n  ProxyJump "+gone.Alias+"\n", s, gone)
		refuses(t, &config.Worker{Address: "ssh://" + s.Alias}, o, "its jump host: connection refused: connect to host 127.0.0.1 port")
	})
	t.Run("agent", func(t *testing.T) {
		t.Parallel()
		socket := agent(t, filepath.Join(s.Dir, "id"))
		// The key's file is not offered, so that only the agent can have it.
		lines := fmt.Sprintf("Host %s\n  IdentityFile none\n  IdentitiesOnly no\n  IdentityAgent %s\n  HostName %s\n  Port %d\n  User root\n  UserKnownHostsFile %s\n",
			s.Alias, socket, h.Inner, s.Port, filepath.Join(s.Dir, "known_hosts"))
		solves(t, &config.Worker{Address: "ssh://" + s.Alias}, sshConfig(t, lines))
	})
	t.Run("unknown host key", func(t *testing.T) {
		t.Parallel()
		empty := filepath.Join(t.TempDir(), "known_hosts")
		refuses(t, &config.Worker{Address: "ssh://" + s.Alias}, sshConfig(t, "Host "+s.Alias+"\n  UserKnownHostsFile "+empty+"\n", s), "the host key is not known (it showed ssh-ed25519 SHA256:")
	})
	t.Run("changed host key", func(t *testing.T) {
		t.Parallel()
		other, err := os.ReadFile(filepath.Join(jump.Dir, "host.pub"))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(other))
		known := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(known, fmt.Appendf(nil, "[%s]:%d %s %s\n", h.Inner, s.Port, fields[0], fields[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, &config.Worker{Address: "ssh://" + s.Alias}, sshConfig(t, "Host "+s.Alias+"\n  UserKnownHostsFile "+known+"\n", s),
			"the host key has changed (it showed ssh-ed25519 "+s.Fingerprint+")")
	})
	t.Run("no buildctl", func(t *testing.T) {
		t.Parallel()
		bare := sshtest.Start(t, sshtest.Options{})
		refuses(t, &config.Worker{Address: "ssh://" + bare.Alias}, sshConfig(t, "", bare), "there is no buildctl on the host")
	})
	t.Run("refused key", func(t *testing.T) {
		t.Parallel()
		refuses(t, &config.Worker{Address: "ssh://" + s.Alias}, sshConfig(t, fmt.Sprintf("Host %s\n  IdentityFile %s\n  IdentityAgent none\n  HostName %s\n  Port %d\n  UserKnownHostsFile %s\n",
			s.Alias, filepath.Join(jump.Dir, "id"), h.Inner, s.Port, filepath.Join(s.Dir, "known_hosts"))), "it let nobody in: ")
	})
}

// agent is an ssh-agent with one key, and the path of its socket.
func agent(t *testing.T, key string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ama") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	embeddedtest.Await(t, "agent", 5*time.Second, func() bool { _, err := os.Stat(socket); return err == nil })
	add := exec.Command("ssh-add", "-q", key)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("adding the key to the agent: %v: %s", err, out)
	}
	return socket
}
