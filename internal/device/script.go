package device

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/archmage-build/archmage/internal/ui"
)

// command is a shell under way. Its standard input stays open for as long as
// the script may run: the script ends what it does when it sees the end of it,
// so that neither an interruption nor a lost connection leaves anything.
type command struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// newCommand takes a command that was made with a context.
func newCommand(cmd *exec.Cmd) *command {
	c := &command{cmd: cmd}
	c.cmd.WaitDelay = grace
	c.cmd.Cancel = func() error { return c.stdin.Close() }
	return c
}

// quote makes words of a POSIX shell of its arguments. It is the only way into
// a script for any value.
func quote(args ...string) string { return shellescape.QuoteCommand(args) }

// outcome is what a script gave.
type outcome struct {
	stdout, stderr []byte
	code           int
	// ended is false where the connection or the time ended before the script.
	ended bool
	// mark divided the output.
	mark string
	// before is what came ahead of the script's own output: a banner, or the
	// complaint of a login shell.
	before string
}

// parts divides stdout where the script printed "$MARK name" on a line.
func (o outcome) parts(name string) (before, after []byte) {
	sep := []byte("\n" + o.mark + " " + name + "\n")
	if i := bytes.LastIndex(o.stdout, sep); i >= 0 {
		return o.stdout[:i], o.stdout[i+len(sep):]
	}
	return o.stdout, nil
}

// The script is one compound command, so that the shell reads all of it before
// it runs any; fd 3 is what is left of standard input: the connection's life.
// MARK is a random word that nothing else on the device knows.
const frameScript = `{
exec 3<&0 </dev/null
MARK=%s
for d in ` + usualPlaces + `; do
  case ":$PATH:" in *":$d:"*) ;; *) [ -d "$d" ] && PATH="$PATH:$d" ;; esac
done
LC_ALL=C
export PATH LC_ALL
# A login without a session, as over SSH without PAM.
if [ -z "$XDG_RUNTIME_DIR" ] && [ -d "/run/user/$(id -u)" ]; then
  XDG_RUNTIME_DIR=/run/user/$(id -u)
  export XDG_RUNTIME_DIR
fi
trap '' PIPE
printf '%%s begin\n' "$MARK"
printf '%%s begin\n' "$MARK" >&2
(
%s
)
rc=$?
printf '\n%%s end %%s\n' "$MARK" "$rc"
printf '\n%%s end %%s\n' "$MARK" "$rc" >&2
exit 0
}
`

// lostWait is how long the connection may outlive a session that broke with it.
const lostWait = 500 * time.Millisecond

// maxOutput bounds each stream of a script, in bytes.
const maxOutput = 4 << 20

// script runs a POSIX shell script on the device. An exit code other than 0 is
// an outcome; an error means that the script did not come to its end.
func (d *Device) script(ctx context.Context, body string) (outcome, error) {
	return d.scriptUntil(ctx, body, "", nil)
}

// scriptUntil is script, and calls seen once the script has printed "$MARK name" on
// a line ahead of everything else.
func (d *Device) scriptUntil(ctx context.Context, body, name string, seen func()) (outcome, error) {
	d.mu.Lock()
	l := d.link
	d.mu.Unlock()
	if l == nil {
		return outcome{}, &Error{Kind: Unreachable, Err: errors.New("it is not connected")}
	}
	marker, err := newMark()
	if err != nil {
		return outcome{}, err
	}
	stdout, stderr := &frame{mark: marker}, &frame{mark: marker}
	if seen != nil {
		stdout.first, stdout.seen = []byte("\n"+marker+" "+name+"\n"), seen
	}

	c := l.shell(ctx)
	c.cmd.Stdout, c.cmd.Stderr = stdout, stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return outcome{}, fmt.Errorf("preparing a script: %w", err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return outcome{}, &Error{Kind: Unreachable, Err: fmt.Errorf("starting %s: %w", c.cmd.Path, err), Hint: "a POSIX shell and OpenSSH's client are needed on this machine"}
	}
	wrote := make(chan struct{})
	go func() { // an error shows as a script without an end
		defer close(wrote)
		_, _ = fmt.Fprintf(stdin, frameScript, marker, body)
	}()
	werr := c.cmd.Wait()
	<-wrote

	o := outcome{mark: marker}
	var code2 int
	var ended2 bool
	o.stdout, o.code, o.ended = stdout.content()
	o.stderr, code2, ended2 = stderr.content()
	o.ended = o.ended && ended2 && o.code == code2
	o.before = strings.TrimSpace(stderr.before() + "\n" + stdout.before())
	switch {
	case ctx.Err() != nil:
		return o, context.Cause(ctx)
	case o.ended:
		return o, nil
	}
	// Of a connection that breaks, its sessions hear first.
	lost := l.lost(lostWait)
	switch {
	case lost != nil:
		return o, lostError(lost)
	case !stdout.begun():
		return o, &Error{Kind: NoShell, Err: fmt.Errorf("no POSIX shell answered (%s)", oneLine(o.before, werr)), Hint: "`ssh HOST sh -c true` must work: the user's login shell has to run what ssh hands it"}
	}
	return o, &Error{Kind: Unreachable, Err: fmt.Errorf("the script was cut short (%s)", oneLine(o.before, werr)), Hint: "run the same command again"}
}

// newMark is a random word that nothing else on the device knows.
func newMark() (string, error) {
	var word [16]byte
	if _, err := rand.Read(word[:]); err != nil {
		return "", fmt.Errorf("making a mark: %w", err)
	}
	return "am" + hex.EncodeToString(word[:]), nil
}

func oneLine(text string, err error) string {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			return clip(line)
		}
	}
	if err != nil {
		return err.Error()
	}
	return "it said nothing"
}

// clip makes what a device said fit to be shown on a line.
func clip(s string) string {
	s = ui.Clean(s)
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

// frame takes what lies between the marks out of a stream, whatever a login
// shell prints ahead of it, in bounded memory.
type frame struct {
	mark string
	// seen is called once what is kept begins with first.
	first []byte
	seen  func()

	mu    sync.Mutex
	begin bool
	head  []byte // ahead of the first mark
	kept  []byte
	tail  []byte
	size  int64
}

// tailSize holds a last mark and a goodbye; headSize is kept of what comes ahead of the first.
const (
	tailSize = 4 << 10
	headSize = 32 << 10
)

func (f *frame) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(p)
	if !f.begin {
		f.head = append(f.head, p...)
		first := []byte(f.mark + " begin\n")
		i := bytes.Index(f.head, first)
		if i < 0 {
			if over := len(f.head) - headSize; over > 0 {
				f.head = f.head[over:]
			}
			return n, nil
		}
		f.begin = true
		p = bytes.Clone(f.head[i+len(first):])
		f.head = f.head[:i]
	}
	if room := maxOutput - len(f.kept); room > 0 {
		f.kept = append(f.kept, p[:min(room, len(p))]...)
	}
	if f.seen != nil && bytes.HasPrefix(f.kept, f.first) {
		f.seen()
		f.seen = nil
	}
	f.size += int64(len(p))
	f.tail = append(f.tail, p[max(0, len(p)-tailSize):]...)
	f.tail = f.tail[max(0, len(f.tail)-tailSize):]
	return n, nil
}

func (f *frame) begun() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begin
}

func (f *frame) before() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.head)
}

// content is what lies between the marks, and the exit code behind it.
func (f *frame) content() (content []byte, code int, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := "\n" + f.mark + " end "
	i := bytes.LastIndex(f.tail, []byte(last))
	if i < 0 {
		return bytes.Clone(f.kept), 0, false
	}
	// A shell may say goodbye behind it.
	number, _, _ := strings.Cut(string(f.tail[i+len(last):]), "\n")
	code, err := strconv.Atoi(number)
	if err != nil {
		return bytes.Clone(f.kept), 0, false
	}
	end := f.size - int64(len(f.tail)-i)
	return bytes.Clone(f.kept[:min(end, int64(len(f.kept)))]), code, true
}
