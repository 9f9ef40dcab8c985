package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// prepareGrace is how long an interrupted prepare command and what it started
// have to end by themselves.
const prepareGrace = 3 * time.Second

// maxLine is how much of a line of output is kept, in bytes.
const maxLine = 4096

// preparing bounds the commands of all builds: each may well use every CPU.
var preparing = semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))

// Prepare runs the target's command on the workstation for one platform. At
// most as many run side by side as there are CPUs; the others wait.
func Prepare(ctx context.Context, b *plan.Build, d *Display, o Options) error {
	p := b.Spec.Prepare
	if p == nil {
		return nil
	}
	if preparing.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer preparing.Release(1)
	args, env := prepareCommand(p, platformEnv(b, o), o)
	dir := p.Dir
	if dir == "" && !remote(o.Dir, value(b.Spec.Context)) {
		dir = localPath(value(b.Spec.Context))
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(o.Dir, dir)
	}
	// As it is written: the values are nobody's who reads a log.
	written := strings.Join(p.Command, " ")
	s := d.step(b.ID(), "prepare "+written)
	err := Command(ctx, args, dir, env, s.log)
	s.done(err)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	hint := "run it by hand in " + dir + " to see more; the prepare block of the target says what runs"
	if errors.Is(err, exec.ErrNotFound) {
		hint = fmt.Sprintf("install %s on this machine, or change the prepare block of target %q", args[0], b.Target.Name)
	}
	return &Error{Build: b.ID(), Step: "prepare: " + written, Log: s.tail(), Err: err, Hint: hint}
}

// prepareCommand returns the arguments and the environment of a prepare block.
// Variables of the platform and of env are replaced in the arguments; all else
// reaches the command through its environment alone, where text stays text: an
// argument may be a program, and is seen by every user of this machine. For the
// same reason a value of env that took something from the environment is not
// put into the arguments, and of a shell's script only what belongs to the
// platform is replaced: the shell has the variables, and quotes them.
func prepareCommand(p *config.Prepare, platform map[string]string, o Options) (args, env []string) {
	env = slices.Clone(o.Environ)
	for _, k := range slices.Sorted(maps.Keys(platform)) {
		env = append(env, k+"="+platform[k])
	}
	plain := maps.Clone(platform)
	script := maps.Clone(platform)
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		foreign := false
		v := expand(p.Env[k], func(name string) (string, bool) {
			if v, ok := platform[name]; ok {
				return v, true
			}
			v, ok := o.LookupEnv(name)
			foreign = foreign || ok
			return v, ok
		})
		env = append(env, k+"="+v)
		delete(script, k)
		if delete(plain, k); !foreign {
			plain[k] = v
		}
	}
	args = make([]string, len(p.Command))
	program := shellScript(p.Command)
	for i, a := range p.Command {
		vars := plain
		if i == program {
			vars = script
		}
		args[i] = expand(a, func(name string) (string, bool) {
			v, ok := vars[name]
			return v, ok
		})
	}
	return args, env
}

// shells take a program as the argument behind -c, alone or as one of
// joined options (-ec, -ce), whatever stands ahead of them (env, sudo, timeout).
var shells = []string{"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "fish", "su"}

var commandOption = regexp.MustCompile(`^-[a-zA-Z]*c[a-zA-Z]*$`)

// shellScript returns which of the arguments is a program for a shell, or -1.
func shellScript(args []string) int {
	shell := slices.IndexFunc(args, func(a string) bool { return slices.Contains(shells, filepath.Base(a)) })
	if shell < 0 {
		return -1
	}
	for i := shell + 1; i < len(args); i++ {
		if !commandOption.MatchString(args[i]) {
			continue
		}
		for i++; i < len(args); i++ { // more options may follow it
			if !strings.HasPrefix(args[i], "-") && !strings.HasPrefix(args[i], "+") {
				return i
			}
		}
	}
	return -1
}

// variable is $$, which stays as it is, $NAME or ${NAME}.
var variable = regexp.MustCompile(`\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// expand replaces $NAME and ${NAME} of the names that lookup knows. All else
// stays as it is: it is the command's own, such as a loop's variable, awk's $1 or
// make's $(CC).
func expand(text string, lookup func(string) (string, bool)) string {
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		if v, ok := lookup(strings.Trim(found, "${}")); ok {
			return v
		}
		return found
	})
}

// Command runs args in dir with the environment env, in a process group of its
// own: when ctx ends, what they started is interrupted too, and killed a few
// seconds later. Each line of output goes to log, " …" behind one that was cut.
func Command(ctx context.Context, args []string, dir string, env []string, log func(string)) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = prepareGrace
	asGroup(cmd)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		if _, stat := os.Stat(dir); errors.Is(stat, os.ErrNotExist) {
			return fmt.Errorf("there is no directory %s to run it in", dir)
		}
		return plain(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines(out, log)
	}()
	err = cmd.Wait()
	if ctx.Err() != nil {
		endGroup(cmd, prepareGrace)
	}
	select {
	case <-read:
	case <-time.After(prepareGrace): // a child left behind holds the pipe open
	}
	out.Close()
	<-read
	return err
}

// lines calls each with every line of r, of which it keeps the first maxLine
// bytes, until r ends or is closed.
func lines(r io.Reader, each func(string)) {
	buf := bufio.NewReaderSize(r, maxLine)
	for {
		line, more, err := buf.ReadLine()
		if err != nil {
			return
		}
		text, cut := string(line), false
		for more && err == nil {
			line, more, err = buf.ReadLine()
			cut = cut || len(line) > 0
		}
		if cut {
			text += " …"
		}
		each(text)
	}
}

func plain(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// platformEnv is what prepare commands see: BuildKit's TARGET* arguments
// (https://docs.docker.com/build/building/variables/#multi-platform-build-arguments)
// and Go's own variables for the same platform.
func platformEnv(b *plan.Build, o Options) map[string]string {
	p := b.Platform
	m := map[string]string{
		"TARGETPLATFORM": config.FormatPlatform(p),
		"TARGETOS":       p.OS,
		"TARGETARCH":     p.Architecture,
		"TARGETVARIANT":  p.Variant,
		"GOOS":           p.OS,
		"GOARCH":         p.Architecture,
		"GOARM":          "",
		"GOAMD64":        "",
		"GOARM64":        "",
		"CGO_ENABLED":    "0",
	}
	switch p.Architecture {
	case "arm":
		m["GOARM"] = strings.TrimPrefix(p.Variant, "v")
		if m["GOARM"] == "8" { // Go's GOARM ends at 7
			m["GOARM"] = "7"
		}
	case "arm64":
		if p.Variant != "" { // Go wants v9.0 where OCI says v9
			v := p.Variant
			if !strings.Contains(v, ".") {
				v += ".0"
			}
			m["GOARM64"] = v
		}
	case "amd64":
		m["GOAMD64"] = p.Variant
	}
	if e := epoch(b, o); e != nil {
		m["SOURCE_DATE_EPOCH"] = fmt.Sprint(e.Unix())
	}
	return m
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
