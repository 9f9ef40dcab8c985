// Package sshtest gives tests real SSH servers of OpenSSH, on this machine or on
// hosts of their own: network namespaces on a cable.
package sshtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// Server is an sshd that lets in one key.
type Server struct {
	// Alias is the name under which Config knows it.
	Alias string
	// Addr and Port are where it listens.
	Addr string
	Port int
	// Config is a client's configuration that reaches it (ssh -F): with the
	// user, the key and the known host key.
	Config string
	// Dir holds its files: id, id.pub, host, host.pub, authorized_keys,
	// known_hosts.
	Dir string
	// Fingerprint of its host key, "SHA256:…".
	Fingerprint string

	sshd *exec.Cmd
	log  *embeddedtest.Output
}

// Options change a server.
type Options struct {
	// Host is where it runs; nil is this machine.
	Host *Host
	// Env is set in every session.
	Env map[string]string
	// Force is sshd's ForceCommand.
	Force string
	// Lines are added to sshd_config.
	Lines []string
	// Unknown leaves the host key out of known_hosts.
	Unknown bool
}

// Start runs a server until the test ends. It skips where there is no sshd,
// and fails in CI.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	sshd := embeddedtest.Program(t, "sshd", "openssh-server")
	keygen := embeddedtest.Program(t, "ssh-keygen", "openssh-client")
	dir, err := os.MkdirTemp("", "sshtest") // outlives the processes of the server, which may still write
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{Alias: "h" + filepath.Base(dir), Dir: dir, Addr: "127.0.0.1", log: &embeddedtest.Output{}}
	s.Port = embeddedtest.FreePort(t)
	if o.Host != nil {
		s.Addr = o.Host.Inner
	}
	for _, key := range []string{"host", "id"} {
		embeddedtest.Run(t, keygen, "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(dir, key))
	}
	s.Fingerprint = strings.Fields(embeddedtest.Run(t, keygen, "-l", "-f", filepath.Join(dir, "host.pub")))[1]
	s.write(t, "authorized_keys", s.read(t, "id.pub"))
	s.write(t, "known_hosts", "")
	if !o.Unknown {
		s.Know(t, s)
	}
	s.write(t, "sshd_config", s.configuration(o))
	s.Config = filepath.Join(dir, "ssh_config")
	s.Configure(t, "")

	if os.Getuid() == 0 { // where sshd separates its privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config")}
	if o.Host != nil {
		args = append(o.Host.Enter(), args...)
	}
	s.sshd = exec.Command(args[0], args[1:]...)
	s.sshd.Stderr = s.log
	s.sshd.WaitDelay = time.Second // sessions that outlive it hold its output
	if err := s.sshd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.log)
		}
	})
	s.await(t)
	return s
}

func (s *Server) configuration(o Options) string {
	lines := []string{
		"ListenAddress " + net.JoinHostPort(s.Addr, strconv.Itoa(s.Port)),
		"HostKey " + filepath.Join(s.Dir, "host"),
		"AuthorizedKeysFile " + filepath.Join(s.Dir, "authorized_keys"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password", "LogLevel VERBOSE", "PrintMotd no", "PrintLastLog no",
		"MaxSessions 100",
	}
	var pairs []string
	for k, v := range o.Env {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	if len(pairs) > 0 {
		lines = append(lines, "SetEnv "+strings.Join(pairs, " "))
	}
	if o.Force != "" {
		lines = append(lines, "ForceCommand "+o.Force)
	}
	// The first value of an option wins.
	return strings.Join(append(append(o.Lines[:len(o.Lines):len(o.Lines)], "MaxStartups 100"), lines...), "\n") + "\n"
}

// Configure writes the client's configuration anew, with lines ahead of its
// own, which win.
func (s *Server) Configure(t testing.TB, lines string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "ssh_config", fmt.Sprintf(`Host %s
%s
  HostName %s
  Port %d
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile none
`, s.Alias, lines, s.Addr, s.Port, me.Username, filepath.Join(s.Dir, "id"), filepath.Join(s.Dir, "known_hosts")))
}

// Know writes known_hosts: the server has the host key of another, or its own.
func (s *Server) Know(t testing.TB, other *Server) {
	t.Helper()
	fields := strings.Fields(other.read(t, "host.pub"))
	key := fields[0] + " " + fields[1]
	s.write(t, "known_hosts", fmt.Sprintf("[%s]:%d %s\n%s %s\n", s.Addr, s.Port, key, s.Addr, key))
}

// Forget empties known_hosts.
func (s *Server) Forget(t testing.TB) {
	t.Helper()
	s.write(t, "known_hosts", "")
}

// Logins is how many connections have logged in.
func (s *Server) Logins() int { return strings.Count(s.log.String(), "Accepted publickey") }

// Sessions are the processes that serve connections, children of the listener.
func (s *Server) Sessions(t testing.TB) []int {
	t.Helper()
	pid := s.sshd.Process.Pid
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, name := range tasks {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// Kill ends the server at once; sessions that run go on.
func (s *Server) Kill() {
	if s.sshd.ProcessState == nil {
		_ = s.sshd.Process.Kill()
		_ = s.sshd.Wait()
	}
}

func (s *Server) await(t testing.TB) {
	t.Helper()
	embeddedtest.Await(t, "sshd", 10*time.Second, func() bool {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(s.Addr, strconv.Itoa(s.Port)), time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
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
