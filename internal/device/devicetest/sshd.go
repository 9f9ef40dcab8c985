package devicetest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is an OpenSSH server that is a device of its own.
type Server struct {
	Host string
	Port int
	// Dir holds its keys: id, id.pub, host, host.pub, known_hosts.
	Dir string
	// Config is a client configuration in which Alias is this server.
	Config string
	// Fingerprint of its host key, "SHA256:…".
	Fingerprint string
	// PID is that of the listening process.
	PID int

	log *syncBuffer
}

// Alias is the name of every server in its own client configuration.
const Alias = "device"

// ServerOptions differ from one device to another.
type ServerOptions struct {
	// Env is set in every session.
	Env map[string]string
	// Force is sshd's ForceCommand.
	Force string
	// Lines are added to sshd_config.
	Lines []string
	// Namespace is a network namespace made by Namespace; "" for none.
	Namespace *Netns
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// SSHD starts a server; it ends with the test.
func SSHD(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	sshd := NeedProgram(t, "sshd", "openssh-server")
	NeedProgram(t, "ssh", "openssh-client")
	s := &Server{Host: "127.0.0.1", Dir: t.TempDir(), log: &syncBuffer{}}
	if o.Namespace != nil {
		s.Host = o.Namespace.Inner
	}
	if os.Getuid() == 0 { // where sshd separates its privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"id", "host"} {
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(s.Dir, key))
	}
	s.Port = freePort(t)
	fields := strings.Fields(run(t, "ssh-keygen", "-l", "-f", filepath.Join(s.Dir, "host.pub")))
	s.Fingerprint = fields[1]

	public := read(t, filepath.Join(s.Dir, "host.pub"))
	write(t, filepath.Join(s.Dir, "known_hosts"), fmt.Sprintf("[%s]:%d %s", s.Host, s.Port, public))
	write(t, filepath.Join(s.Dir, "authorized_keys"), read(t, filepath.Join(s.Dir, "id.pub")))
	lines := []string{
		"ListenAddress " + net.JoinHostPort(s.Host, strconv.Itoa(s.Port)),
		"HostKey " + filepath.Join(s.Dir, "host"),
		"AuthorizedKeysFile " + filepath.Join(s.Dir, "authorized_keys"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password", "LogLevel VERBOSE", "PrintMotd no", "PrintLastLog no",
	}
	if len(o.Env) > 0 {
		var pairs []string
		for k, v := range o.Env {
			pairs = append(pairs, fmt.Sprintf("%s=%s", k, v))
		}
		lines = append(lines, "SetEnv "+strings.Join(pairs, " "))
	}
	if o.Force != "" {
		lines = append(lines, "ForceCommand "+o.Force)
	}
	lines = append(lines, o.Lines...)
	conf := filepath.Join(s.Dir, "sshd_config")
	write(t, conf, strings.Join(lines, "\n")+"\n")
	s.Config = filepath.Join(s.Dir, "ssh_config")
	s.Configure(t, "")

	args := []string{sshd, "-D", "-e", "-f", conf}
	if o.Namespace != nil {
		args = append([]string{"nsenter", "--net=/run/netns/" + o.Namespace.Name}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.PID = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // a test may have done so
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.log)
		}
	})
	Await(t, "sshd", 10*time.Second, func() bool {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return s
}

// Configure writes the client's configuration anew, with lines ahead of its
// own, which win.
func (s *Server) Configure(t testing.TB, lines string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.Config, fmt.Sprintf(`Host %s
%s
  HostName %s
  Port %d
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile none
`, Alias, lines, s.Host, s.Port, me.Username, filepath.Join(s.Dir, "id"), filepath.Join(s.Dir, "known_hosts")))
}

// Logins is how many connections have logged in.
func (s *Server) Logins() int { return strings.Count(s.log.String(), "Accepted publickey") }

// Sessions are the processes that serve connections, children of the listener.
func (s *Server) Sessions(t testing.TB) []int { return children(t, s.PID) }

func children(t testing.TB, pid int) []int {
	t.Helper()
	var out []int
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		for _, f := range strings.Fields(read(t, name)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// Await waits until ok, for a bounded time.
func Await(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, limit)
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
