package device

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archmage-build/archmage/internal/config"
)

// socketRoom is what OpenSSH appends to the control socket's path while it
// binds it, plus the socket's own name; the path must fit in sun_path.
const socketRoom = 24

// hopConfig holds for the device and for every jump host on the way, as ssh
// hands its -F file on to them. The first value of an option wins.
const hopConfig = `BatchMode yes
StrictHostKeyChecking yes
ConnectTimeout %d
ServerAliveInterval 5
ServerAliveCountMax 3
ForwardAgent no
ForwardX11 no
PermitLocalCommand no
`

// pinScript is ssh's KnownHostsCommand for a pinned host key: it knows the key
// that the host shows if its fingerprint is the pinned one.
const pinScript = `#!/bin/sh
[ "$1" = %s ] && printf '%%s %%s %%s\n' "$2" "$3" "$4"
exit 0
`

// sshLink is one connection to a device: an OpenSSH client that stays, and
// through whose control socket all else goes.
type sshLink struct {
	program string
	dir     string
	master  *exec.Cmd
	said    *sshOutput
	// gone is closed when the client has ended.
	gone chan struct{}
	stop context.CancelFunc

	sockets atomic.Int64
}

// dialSSH connects, and returns when the device has answered a first command.
func dialSSH(ctx context.Context, spec *config.Device, o Options) (_ *sshLink, err error) {
	program, err := exec.LookPath(o.SSH)
	if err != nil {
		return nil, &Error{Kind: Unreachable, Err: fmt.Errorf("this machine has no OpenSSH client: %w", err), Hint: "install the ssh program (openssh-client)"}
	}
	dir, err := privateDir()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	args, err := masterArgs(dir, spec, o)
	if err != nil {
		return nil, err
	}
	l := &sshLink{program: program, dir: dir, said: &sshOutput{}, gone: make(chan struct{})}
	// The connection outlives the context of its opening.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	c := newCommand(life, program, args...)
	c.cmd.Stderr = l.said
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		stop()
		return nil, fmt.Errorf("preparing ssh: %w", err)
	}
	c.stdin = stdin
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, fmt.Errorf("preparing ssh: %w", err)
	}
	l.master = c.cmd
	if err := c.cmd.Start(); err != nil {
		stop()
		return nil, fmt.Errorf("starting ssh: %w", err)
	}
	// The remote cat ends with this process, whatever ends it, and so does
	// the connection. Its echo says that the device is there.
	echo := make(chan bool, 1)
	go func() {
		fmt.Fprintln(stdin, "archmage-echo")
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if strings.HasSuffix(lines.Text(), "archmage-echo") {
				echo <- true
				break
			}
		}
		for lines.Scan() { // nothing more comes until the end
		}
		_ = c.cmd.Wait()
		close(l.gone)
	}()
	select {
	case <-echo:
		return l, nil
	case <-l.gone:
		stop()
		return nil, l.said.explain()
	case <-ctx.Done():
		stop()
		_ = c.cmd.Process.Kill() // not ours to wait for: it hangs
		return nil, context.Cause(ctx)
	}
}

func privateDir() (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(parent, "am") // mode 0700
		if err != nil {
			return "", fmt.Errorf("making a directory for ssh: %w", err)
		}
		if len(dir)+socketRoom < 104 {
			return dir, nil
		}
		os.Remove(dir)
	}
	return "", errors.New("the path of the temporary directory is too long for a socket; set TMPDIR to a shorter one")
}

func masterArgs(dir string, spec *config.Device, o Options) ([]string, error) {
	seconds := max(1, int((o.Connect+time.Second-1)/time.Second))
	text := fmt.Sprintf(hopConfig, seconds)
	if o.SSHConfig != "" {
		text += fmt.Sprintf("Include %q\n", o.SSHConfig)
	} else {
		text += "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n"
	}
	conf := filepath.Join(dir, "config")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing ssh's configuration: %w", err)
	}
	args := []string{
		"-F", conf, "-M", "-S", filepath.Join(dir, "c"), "-T",
		"-o", "ControlPersist=no", "-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes",
		"-o", "LogLevel=DEBUG1", // tells the host key
	}
	switch {
	case spec.HostKey != "":
		pin := filepath.Join(dir, "pin")
		if err := os.WriteFile(pin, fmt.Appendf(nil, pinScript, quote(spec.HostKey)), 0o700); err != nil { //nolint:gosec // ssh runs it
			return nil, fmt.Errorf("writing the host key's rule: %w", err)
		}
		args = append(args, "-o", "UserKnownHostsFile=none", "-o", "GlobalKnownHostsFile=none",
			"-o", "KnownHostsCommand="+pin+" %f %H %t %K")
	case spec.AcceptNew:
		args = append(args, "-o", "StrictHostKeyChecking=accept-new")
	}
	return append(args, "--", spec.Host, "exec cat"), nil
}

// through runs the client on the connection that stands. Should it be gone,
// the client must not open one of its own.
func (l *sshLink) through(args ...string) []string {
	base := []string{"-F", "none", "-S", filepath.Join(l.dir, "c"), "-T", "-o", "ProxyCommand=exit 1", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"}
	return append(base, args...)
}

func (l *sshLink) shell(ctx context.Context) *command {
	// Every login shell knows these words.
	return newCommand(ctx, l.program, l.through("device", "exec sh -s")...)
}

// control sends the standing client a request.
func (l *sshLink) control(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, errNoAnswer)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.program, l.through(append(args, "device")...)...)
	detach(cmd)
	cmd.WaitDelay = grace
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errors.New(oneLine(string(out), err))
	}
	return nil
}

func (l *sshLink) dial(ctx context.Context, port int) (network, address string, undo func(), err error) {
	socket := filepath.Join(l.dir, fmt.Sprintf("l%d", l.sockets.Add(1)))
	forward := fmt.Sprintf("%s:127.0.0.1:%d", socket, port)
	if err := l.control(ctx, "-O", "forward", "-L", forward); err != nil {
		return "", "", nil, fmt.Errorf("forwarding port %d of the device: %w", port, err)
	}
	undo = func() {
		_ = l.control(context.WithoutCancel(ctx), "-O", "cancel", "-L", forward) // goes with the connection otherwise
		os.Remove(socket)
	}
	return "unix", socket, undo, nil
}

func (l *sshLink) bring(ctx context.Context, host string) error {
	name, port := splitHost(host)
	return l.control(ctx, "-O", "forward", "-R", fmt.Sprintf("%s:%s:%s:%s", name, port, name, port))
}

func (l *sshLink) hostKey() string { return l.said.hostKey() }

func (l *sshLink) lost(wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.gone:
	case <-timer.C:
	}
	select { // both may have come
	case <-l.gone:
		if text := l.said.text(); text != "" {
			return errors.New(oneLine(text, nil))
		}
		return errors.New("ssh ended")
	default:
		return nil
	}
}

func (l *sshLink) close() error {
	l.stop() // closes its standard input; exec kills it after the grace
	<-l.gone
	return os.RemoveAll(l.dir)
}

// sshOutput keeps what the client says, without its chatter.
type sshOutput struct {
	mu      sync.Mutex
	pending []byte
	lines   []string
	key     string
}

func (s *sshOutput) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p...)
	for {
		i := bytes.IndexByte(s.pending, '\n')
		if i < 0 {
			break
		}
		s.line(strings.TrimRight(string(s.pending[:i]), "\r"))
		s.pending = s.pending[i+1:]
	}
	s.pending = s.pending[max(0, len(s.pending)-1<<12):]
	return len(p), nil
}

func (s *sshOutput) line(text string) {
	if rest, ok := strings.CutPrefix(text, "debug1: "); ok {
		if key, ok := strings.CutPrefix(rest, "Server host key: "); ok {
			s.key = key
		}
		return
	}
	// The headings of OpenSSH's own messages say nothing.
	for _, chatter := range []string{"OpenSSH_", "@@@", "Authenticated to ", "Transferred: ", "Bytes per second: "} {
		if strings.HasPrefix(text, chatter) {
			return
		}
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	if len(s.lines) < 50 {
		s.lines = append(s.lines, text)
	}
}

func (s *sshOutput) hostKey() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

func (s *sshOutput) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(append(s.lines, string(s.pending)), "\n")
}
