package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archmage-build/archmage/internal/journal"
)

// TestCompletion types into real shells at a real terminal: what a tab key makes
// of a line is what counts.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "archmage"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("compiling the command: %v\n%s", err, out)
	}
	config := `
group "services" { targets = ["app", "job"] }
target "app" {
  tags      = ["localhost:5999/app:1"]
  platforms = ["linux/arm64", "linux/arm/v6"]
}
target "job" { tags = ["localhost:5999/job:1"] }
device "door" { host = "pi@door.lan" }
device "rack" { host = "rack.lan" }
device "nobody" { host = "nobody.lan" }
`
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	id := released(t, dir)
	shells := []struct {
		name string
		args []string
		// begin loads the completion as its own documentation says.
		begin string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, "source /usr/share/bash-completion/bash_completion; source <(archmage completion bash)"},
		{"zsh", []string{"-f", "-i"}, "autoload -U compinit; compinit -u -d $PWD/zcompdump; source <(archmage completion zsh); unsetopt prompt_sp zle_bracketed_paste"},
		{"fish", []string{"--no-config", "-i"}, "archmage completion fish | source"},
	}
	cases := []struct{ typed, want string }{
		{"archmage roll", "archmage rollback"},
		{"archmage release --dry", "archmage release --dry-run"},
		{"archmage plan ap", "archmage plan app"},
		{"archmage plan app ser", "archmage plan app services"},
		{"archmage release --targets jo", "archmage release --targets job"},
		{"archmage devices do", "archmage devices door"},
		{"archmage smoke --device door,ra", "archmage smoke --device door,rack"},
		{"archmage smoke --device door,rack,nobo", "archmage smoke --device door,rack,nobody"},
		{"archmage build --platforms linux/arm/", "archmage build --platforms linux/arm/v6"},
		{"archmage rollback " + id[:6], "archmage rollback " + id},
		{"archmage rollback --to=" + id[:6], "archmage rollback --to=" + id},
		{"archmage explain elf-arch", "archmage explain elf-architecture"},
	}
	for _, shell := range shells {
		t.Run(shell.name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(shell.name)
			if err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skipf("no %s here", shell.name)
			}
			s := startShell(t, dir, path, shell.args...)
			s.line(shell.begin)
			for i, tc := range cases {
				// The line is not run: what was completed is printed.
				done := fmt.Sprintf("done-%d:", i)
				s.send(tc.typed + "\t")
				// The mark is in quotes, so that the echo of what is typed is not it.
				s.send("\x01echo " + strings.Replace(done, "-", "'-'", 1) + " \r")
				got := s.until(done)
				if !strings.HasPrefix(strings.Join(strings.Fields(got), " "), tc.want) {
					t.Errorf("%q and a tab gave %q, want %q", tc.typed, got, tc.want)
				}
			}
		})
	}
}

// released makes the record of a release in dir, as a release would leave it.
func released(t *testing.T, dir string) string {
	t.Helper()
	store := journal.Open(filepath.Join(dir, journal.Dir))
	if err := store.Make(); err != nil {
		t.Fatal(err)
	}
	r, err := store.New(journal.Release)
	if err != nil {
		t.Fatal(err)
	}
	r.Promote([]journal.Move{{Tag: "localhost:5999/app:1", Digest: "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}, nil)
	r.Finish()
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// shell is a shell at the other end of a terminal.
type shell struct {
	t        *testing.T
	terminal *os.File
	output   chan []byte
	seen     bytes.Buffer
}

func startShell(t *testing.T, dir, path string, args ...string) *shell {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 400}); err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "TERM=xterm", "HOME="+dir, "PS1=$ ", "INPUTRC=/dev/null")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	s := &shell{t: t, terminal: terminal, output: make(chan []byte, 100)}
	go func() {
		defer close(s.output)
		for {
			buf := make([]byte, 4096)
			n, err := terminal.Read(buf)
			if n > 0 {
				s.output <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *shell) send(keys string) {
	s.t.Helper()
	if _, err := s.terminal.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// line runs a command and waits until it has ended.
func (s *shell) line(command string) {
	s.t.Helper()
	s.send(command + "\r")
	s.send("echo line-'ended:' \r")
	s.until("line-ended:")
}

// escapes matches what a terminal acts on and does not show.
var escapes = regexp.MustCompile("\x1b(\\[[0-9;?<>=]*[a-zA-Z]|\\][^\x07\x1b]*(\x07|\x1b\\\\)|[()][A-Z0-9]|[=>])|[\x0e\x0f\x08]")

// until gives the rest of the line that begins with mark.
func (s *shell) until(mark string) string {
	s.t.Helper()
	// Slow, as a tab runs a program and others test at the same time.
	end := time.After(2 * time.Minute)
	for {
		text := escapes.ReplaceAllString(s.seen.String(), "")
		for line := range strings.Lines(text) {
			if _, rest, ok := strings.Cut(line, mark); ok && strings.HasSuffix(line, "\n") && strings.HasPrefix(strings.TrimLeft(line, "\r"), mark) {
				s.seen.Reset()
				return strings.TrimSpace(rest)
			}
		}
		select {
		case data, ok := <-s.output:
			if !ok {
				s.t.Fatalf("the shell has ended; it showed:\n%s", text)
			}
			s.seen.Write(data)
		case <-end:
			s.t.Fatalf("no %q; the terminal shows:\n%s", mark, text)
		}
	}
}
