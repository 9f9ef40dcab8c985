package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// prepareGrace is how long an interrupted prepare command and what it started
// have to end by themselves.
const prepareGrace = 3 * time.Second

// maxLine is how much of a line of output is kept, in bytes.
const maxLine = 4096

// Prepare runs the target's command on the workstation for one platform.
func Prepare(ctx context.Context, b *plan.Build, d *Display, o Options) error {
	p := b.Spec.Prepare
	if p == nil {
		return nil
	}
	vars := platformEnv(b, o)
	env := slices.Clone(o.Environ)
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	lookup := func(name string) (string, bool) {
		if v, ok := vars[name]; ok {
			return v, true
		}
		return o.LookupEnv(name)
	}
	own := map[string]string{}
	for k, v := range p.Env {
		own[k] = expand(v, lookup)
		env = append(env, k+"="+own[k])
	}
	args := make([]string, len(p.Command))
	for i, a := range p.Command {
		args[i] = expand(a, func(name string) (string, bool) {
			if v, ok := own[name]; ok {
				return v, true
			}
			return lookup(name)
		})
	}
	dir := p.Dir
	if dir == "" && !remote(o.Dir, value(b.Spec.Context)) {
		dir = localPath(value(b.Spec.Context))
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(o.Dir, dir)
	}
	s := d.step(b.ID(), "prepare "+strings.Join(args, " "))
	err := command(ctx, args, dir, env, s)
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
	return &Error{Build: b.ID(), Step: "prepare: " + strings.Join(args, " "), Log: s.tail(), Err: err, Hint: hint}
}

// expand replaces $NAME and ${NAME} of the names that lookup knows. Others stay
// as they are: they are the command's own, a shell's $1 or loop variable.
func expand(text string, lookup func(string) (string, bool)) string {
	return os.Expand(text, func(name string) string {
		if v, ok := lookup(name); ok {
			return v
		}
		return "${" + name + "}"
	})
}

// command runs args in a process group of its own, so that an interrupt ends
// what they start as well.
func command(ctx context.Context, args []string, dir string, env []string, s *localStep) error {
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
		lines(out, s.log)
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
