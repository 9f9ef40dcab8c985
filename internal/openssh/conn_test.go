package openssh_test

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/openssh"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

func dial(t *testing.T, s *sshtest.Server, o openssh.Options) *openssh.Conn {
	t.Helper()
	o.Config = s.Config
	c, err := openssh.Dial(t.Context(), s.Alias, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCommand(t *testing.T) {
	t.Parallel()
	c := dial(t, sshtest.Start(t, sshtest.Options{}), openssh.Options{})
	nasty := `it's "$(touch /tmp/x)"; echo ü` + "\n`id` \\ * ~"
	out, err := c.Command(t.Context(), "printf", "%s", nasty).Output()
	if err != nil || string(out) != nasty {
		t.Errorf("%q came back as %q, %v", nasty, out, err)
	}
	err = c.Command(t.Context(), "sh", "-c", "exit 7").Run()
	var code interface{ ExitCode() int }
	if !errors.As(err, &code) || code.ExitCode() != 7 {
		t.Errorf("exit code: %v", err)
	}
}

// However many commands run, the host sees one connection.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	c := dial(t, s, openssh.Options{})
	first, err := c.Command(t.Context(), "sh", "-c", "echo $SSH_CONNECTION").Output()
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		next, err := c.Command(t.Context(), "sh", "-c", "echo $SSH_CONNECTION").Output()
		if err != nil || string(next) != string(first) {
			t.Fatalf("a command came by %q, the first by %q (%v)", next, first, err)
		}
	}
}

func TestForward(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "from here")
			_ = c.Close()
		}
	}()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	c := dial(t, sshtest.Start(t, sshtest.Options{}), openssh.Options{})
	if err := c.Forward(t.Context(), openssh.Forward{Port: port, Local: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Command(t.Context(), "bash", "-c", "cat </dev/tcp/127.0.0.1/"+strconv.Itoa(port)).Output()
	if err != nil || string(got) != "from here" {
		t.Errorf("through the forward: %q, %v", got, err)
	}
	if err := c.Forward(t.Context(), openssh.Forward{Port: l.Addr().(*net.TCPAddr).Port, Local: "127.0.0.1:1"}); err == nil {
		t.Error("a port that is taken was forwarded")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	unknown := sshtest.Start(t, sshtest.Options{Unknown: true})
	locked := sshtest.Start(t, sshtest.Options{Config: "AllowUsers nobody-at-all"})
	gone := sshtest.Start(t, sshtest.Options{})
	gone.Kill()
	for name, tc := range map[string]struct {
		host, config, want string
	}{
		"unknown": {unknown.Alias, unknown.Config, "is not known"},
		"locked":  {locked.Alias, locked.Config, "refuses us: "},
		"gone":    {gone.Alias, gone.Config, "refuses the connection"},
		"no name": {"no-such-host.invalid", unknown.Config, "has no address"},
		"dash":    {"-oProxyCommand=x", unknown.Config, "is no host name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := openssh.Dial(t.Context(), tc.host, openssh.Options{Config: tc.config})
			var e *openssh.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tc.want) || e.Remedy() == "" {
				t.Errorf("%v; want an Error that says %q and what to do", err, tc.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestAcceptNew(t *testing.T) {
	t.Parallel()
	dial(t, sshtest.Start(t, sshtest.Options{Unknown: true}), openssh.Options{AcceptNew: true})
}

// A host whose key changed is refused, with the fingerprint.
func TestChangedKey(t *testing.T) {
	t.Parallel()
	s, other := sshtest.Start(t, sshtest.Options{}), sshtest.Start(t, sshtest.Options{})
	other.Port = s.Port
	other.Know(t, "127.0.0.1") // the other's key, for the port of the first
	_, err := openssh.Dial(t.Context(), s.Alias, openssh.Options{Config: s.Config, Extra: []string{"UserKnownHostsFile=" + other.Dir + "/known_hosts"}})
	if err == nil || !strings.Contains(err.Error(), "another host key than before (SHA256:") {
		t.Errorf("%v", err)
	}
}

// A server that falls silent is noticed by the keepalive.
func TestSilence(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: the keepalive takes its time")
	}
	s := sshtest.Start(t, sshtest.Options{})
	c := dial(t, s, openssh.Options{})
	out, err := c.Command(t.Context(), "sh", "-c", "echo $PPID; ps -o ppid= $PPID").Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	pids := map[int]bool{}
	for _, f := range fields {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids[pid] = true
	}
	for pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("nobody noticed")
	}
	if c.Err() == nil {
		t.Error("no error tells why")
	}
}
