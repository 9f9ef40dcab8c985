package openssh_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
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
	port := embeddedtest.FreePort(t)
	c := dial(t, sshtest.Start(t, sshtest.Options{}), openssh.Options{})
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := c.Forward(t.Context(), openssh.Forward{Remote: at, Local: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Command(t.Context(), "bash", "-c", "cat </dev/tcp/127.0.0.1/"+strconv.Itoa(port)).Output()
	if err != nil || string(got) != "from here" {
		t.Errorf("through the forward: %q, %v", got, err)
	}
	if err := c.Forward(t.Context(), openssh.Forward{Remote: l.Addr().String(), Local: "127.0.0.1:1"}); err == nil {
		t.Error("a port that is taken was forwarded")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	unknown := sshtest.Start(t, sshtest.Options{Unknown: true})
	locked := sshtest.Start(t, sshtest.Options{Lines: []string{"AllowUsers nobody-at-all"}})
	gone := sshtest.Start(t, sshtest.Options{})
	gone.Kill()
	for name, tc := range map[string]struct {
		host, config, want string
	}{
		"unknown": {unknown.Alias, unknown.Config, "the host key is not known (it showed ssh-ed25519 SHA256:"},
		"locked":  {locked.Alias, locked.Config, "it let nobody in: "},
		"gone":    {gone.Alias, gone.Config, "connection refused: "},
		"no name": {"no-such-host.invalid", unknown.Config, "the name is not known: "},
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
	s.Know(t, other)
	_, err := openssh.Dial(t.Context(), s.Alias, openssh.Options{Config: s.Config})
	if err == nil || !strings.Contains(err.Error(), "the host key has changed (it showed ssh-ed25519 SHA256:") {
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
	c := dial(t, s, openssh.Options{Silence: 9 * time.Second})
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

// However this process ends, nothing of it stays on the host: a forward that
// outlived it would be in the way of the next.
func TestKilled(t *testing.T) {
	t.Parallel()
	if config := os.Getenv("OPENSSH_TEST_CONFIG"); config != "" { // the process that is killed
		c, err := openssh.Dial(t.Context(), os.Getenv("OPENSSH_TEST_HOST"), openssh.Options{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Forward(t.Context(), openssh.Forward{Remote: os.Getenv("OPENSSH_TEST_REMOTE"), Local: os.Getenv("OPENSSH_TEST_LOCAL")}); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("forwarded\n")
		<-t.Context().Done()
	}
	s := sshtest.Start(t, sshtest.Options{})
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(embeddedtest.FreePort(t)))
	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "OPENSSH_TEST_CONFIG="+s.Config, "OPENSSH_TEST_HOST="+s.Alias, "OPENSSH_TEST_REMOTE="+at, "OPENSSH_TEST_LOCAL="+local.Addr().String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	// A connection through it stays open on both sides.
	conn, dialErr := net.Dial("tcp", at)
	if dialErr == nil {
		t.Cleanup(func() { _ = conn.Close() })
		if other, err := local.Accept(); err == nil {
			t.Cleanup(func() { _ = other.Close() })
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != "forwarded\n" || dialErr != nil {
		t.Fatalf("the process said %q (%v, %v)", line, err, dialErr)
	}
	embeddedtest.Await(t, "end of the forward on the host", 10*time.Second, func() bool {
		l, err := net.Listen("tcp", at)
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	})
}

// A connection outlives the thread that asked for it, as a goroutine's own may
// end at any time.
func TestThreadEnds(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	dialled := make(chan *openssh.Conn)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		c, err := openssh.Dial(context.Background(), s.Alias, openssh.Options{Config: s.Config})
		if err != nil {
			t.Error(err)
		}
		dialled <- c
	}()
	c := <-dialled
	if c == nil {
		return
	}
	defer c.Close()
	select {
	case <-c.Done():
		t.Errorf("it ended with the thread: %v", c.Err())
	case <-time.After(time.Second): // the signal comes at once
	}
	if out, err := c.Command(t.Context(), "echo", "here").Output(); err != nil || string(out) != "here\n" {
		t.Errorf("%q, %v", out, err)
	}
}
