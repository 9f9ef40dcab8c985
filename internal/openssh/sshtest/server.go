// Package sshtest gives tests real SSH servers of OpenSSH, each on a loopback
// port with a host key of its own.
package sshtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is an sshd that lets in one key.
type Server struct {
	// Alias is the name under which Config knows it.
	Alias string
	Port  int
	// Config is a client's configuration that reaches it (ssh -F): with the
	// user, the key and the known host key.
	Config string
	// Dir holds keys and configurations.
	Dir string

	sshd *exec.Cmd
}

// Options change a server.
type Options struct {
	// Command wraps the command that starts sshd, such as "ip netns exec x".
	Command []string
	// Listen is the address; "" is 127.0.0.1.
	Listen string
	// Config is added to sshd_config.
	Config string
	// Unknown leaves the host key out of known_hosts.
	Unknown bool
}

// Start runs a server until the test ends. It skips where there is no sshd,
// and fails in CI.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	sshd := program(t, "sshd")
	keygen := program(t, "ssh-keygen")
	dir, err := os.MkdirTemp("", "sshtest")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Alias: "h" + filepath.Base(dir), Dir: dir}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"host", "id"} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("making a key: %v: %s", err, out)
		}
	}
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1"
	}
	s.Port = 22
	if len(o.Command) == 0 {
		s.Port = freePort(t)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "authorized_keys", s.read(t, "id.pub"))
	if !o.Unknown {
		s.Know(t, listen)
	} else {
		s.write(t, "known_hosts", "")
	}
	s.write(t, "sshd_config", fmt.Sprintf(`Port %d
ListenAddress %s
HostKey %s
PidFile none
AuthorizedKeysFile %s
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel ERROR
MaxStartups 100
MaxSessions 100
%s
`, s.Port, listen, filepath.Join(dir, "host"), filepath.Join(dir, "authorized_keys"), o.Config))
	s.Config = filepath.Join(dir, "ssh_config")
	s.write(t, "ssh_config", fmt.Sprintf(`Host %s
  HostName %s
  Port %d
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
`, s.Alias, listen, s.Port, me.Username, filepath.Join(dir, "id"), filepath.Join(dir, "known_hosts")))
	_ = os.MkdirAll("/run/sshd", 0o755) // Debian's sshd wants it for privilege separation
	args := append(append([]string{}, o.Command...), sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	s.sshd = exec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(dir, "sshd.log"))
	if err != nil {
		t.Fatal(err)
	}
	s.sshd.Stderr = log
	err = s.sshd.Start()
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.read(t, "sshd.log"))
		}
	})
	s.await(t, net.JoinHostPort(listen, fmt.Sprint(s.Port)))
	return s
}

// Know puts the host key into known_hosts.
func (s *Server) Know(t testing.TB, listen string) {
	t.Helper()
	fields := strings.Fields(s.read(t, "host.pub"))
	s.write(t, "known_hosts", fmt.Sprintf("[%s]:%d %s %s\n%s %s %s\n", listen, s.Port, fields[0], fields[1], listen, fields[0], fields[1]))
}

// Kill ends the server at once; sessions that run go on.
func (s *Server) Kill() {
	if s.sshd.ProcessState == nil {
		_ = s.sshd.Process.Kill()
		_ = s.sshd.Wait()
	}
}

func (s *Server) await(t testing.TB, address string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sshd does not listen: %v\n%s", err, s.read(t, "sshd.log"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *Server) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		reason := "no " + name + " here (Debian's openssh-server)"
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must have what this test needs: " + reason)
		}
		t.Skip(reason)
	}
	return path
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
