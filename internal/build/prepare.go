package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// prepareGrace is how long an interrupted prepare command has to end by itself.
const prepareGrace = 3 * time.Second

// prepare runs the target's command on the workstation for one platform.
func prepare(ctx context.Context, b *plan.Build, d *Display, o Options) error {
	p := b.Spec.Prepare
	if p == nil {
		return nil
	}
	vars := platformEnv(b, o)
	args := make([]string, len(p.Command))
	for i, a := range p.Command {
		args[i] = os.Expand(a, func(name string) string {
			if v, ok := vars[name]; ok {
				return v
			}
			v, _ := o.LookupEnv(name)
			return v
		})
	}
	dir := p.Dir
	if dir == "" && !Remote(value(b.Spec.Context)) {
		dir = localPath(value(b.Spec.Context))
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(o.Dir, dir)
	}
	s := d.step(b.ID(), "prepare "+strings.Join(args, " "))
	err := command(ctx, args, dir, vars, p.Env, s, o)
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

func command(ctx context.Context, args []string, dir string, vars, extra map[string]string, s *localStep, o Options) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string(nil), o.Environ...)
	for k, v := range vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	for k, v := range extra {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = prepareGrace
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		return plain(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			s.log(lines.Text())
		}
	}()
	err = cmd.Wait()
	select {
	case <-read:
	case <-time.After(prepareGrace): // a child left behind holds the pipe open
	}
	out.Close()
	return err
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
		"CGO_ENABLED":    "0",
	}
	if p.Architecture == "arm" {
		m["GOARM"] = strings.TrimPrefix(p.Variant, "v")
		if m["GOARM"] == "8" { // Go's GOARM ends at 7
			m["GOARM"] = "7"
		}
	}
	if p.Architecture == "amd64" {
		m["GOAMD64"] = p.Variant
	}
	if o.Epoch != nil {
		m["SOURCE_DATE_EPOCH"] = fmt.Sprint(o.Epoch.Unix())
	}
	return m
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
