package smoke

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

var errNoHTTP = errors.New("the http check needs a device with a container runtime: nothing reaches into the sandbox of a worker")

// execFormat is what runc says on stderr of a program for another processor.
var execFormat = regexp.MustCompile(`\A(standard_init_linux\.go:\d+: )?exec [^\n]*exec format error\s*\z`)

// judge compares what a run gave with what is expected of it. The reason is
// one line, "" for what passed.
func judge(s *config.Smoke, o outcome) (Verdict, string) {
	if o.exitCode != 0 && execFormat.Match(o.stderr) {
		return WrongPlatform, "the program in the image is for another processor: " + ui.Clean(strings.TrimSpace(string(o.stderr)))
	}
	if program := notStarted(string(o.stderr)); program != "" && o.exitCode != 0 && len(o.stdout) == 0 {
		return Failed, program
	}
	if s.HTTP != nil {
		if v, reason := judgeHTTP(s, o); v != Passed {
			return v, reason
		}
	} else if o.timedOut {
		return TimedOut, fmt.Sprintf("it still ran after %s", s.Timeout)
	}
	var problems []string
	e := s.Expect
	if e == nil {
		e = &config.Expect{}
	}
	if s.HTTP == nil && o.exitCode != e.ExitCode {
		problem := fmt.Sprintf("exit code %d, not %d", o.exitCode, e.ExitCode)
		if o.oomKilled {
			problem += " (the kernel ended it: out of memory)"
		}
		problems = append(problems, problem)
	}
	problems = append(problems, patterns("stdout", e.Stdout, e.NotStdout, o.stdout, o.truncated)...)
	problems = append(problems, patterns("stderr", e.Stderr, e.NotStderr, o.stderr, o.truncated)...)
	if s.HTTP == nil {
		for _, f := range o.missing {
			problems = append(problems, "no file "+ui.Clean(f))
		}
	}
	if len(problems) > 0 {
		return Failed, strings.Join(problems, "; ")
	}
	return Passed, ""
}

func judgeHTTP(s *config.Smoke, o outcome) (Verdict, string) {
	problem := "it was not asked"
	if o.http != nil {
		if o.http.ok {
			return Passed, ""
		}
		problem = ui.Clean(o.http.problem)
	}
	check := fmt.Sprintf("http :%d%s: ", s.HTTP.Port, s.HTTP.Path)
	if o.ended {
		return Failed, fmt.Sprintf("%s%s; the container had ended with exit code %d", check, problem, o.exitCode)
	}
	return TimedOut, fmt.Sprintf("%s%s, for %s", check, problem, s.Timeout)
}

// startError is what runtimes say of a program that could not be executed, at the
// end of what they say of themselves.
var startError = regexp.MustCompile(`unable to start container process: .*exec: "([^"]+)": (executable file not found in \$PATH|.*no such file or directory|.*permission denied)(?:: unknown)?\s*\z`)

// notStarted says why a program was not started, or gives "" where text is
// nothing of the kind.
func notStarted(text string) string {
	m := startError.FindStringSubmatch(text)
	switch {
	case m == nil:
		return ""
	case strings.HasSuffix(m[2], "permission denied"):
		return fmt.Sprintf("the program %q in the image may not be executed: its mode, or that of a directory, forbids it", m[1])
	}
	return fmt.Sprintf("the image has no program %q; command holds the arguments of the image's entrypoint, and where it has none begins with the program", m[1])
}

// patterns are matched line by line: ^ and $ are the ends of a line.
func patterns(name string, want, unwanted []string, text []byte, truncated bool) []string {
	text = []byte(strings.ReplaceAll(string(text), "\r\n", "\n"))
	var out []string
	for _, p := range want {
		re, err := regexp.Compile("(?m)" + p)
		switch {
		case err != nil:
			out = append(out, fmt.Sprintf("%s: %v", name, err))
		case !re.Match(text) && truncated:
			out = append(out, fmt.Sprintf("no %q in the first %d bytes of %s", p, len(text), name))
		case !re.Match(text):
			out = append(out, fmt.Sprintf("no %q in %s", p, name))
		}
	}
	for _, p := range unwanted {
		re, err := regexp.Compile("(?m)" + p)
		switch {
		case err != nil:
			out = append(out, fmt.Sprintf("%s: %v", name, err))
		case re.Match(text):
			out = append(out, fmt.Sprintf("%q in %s: %s", p, name, ui.Clean(string(re.Find(text)))))
		}
	}
	return out
}

// classify makes a verdict of an error of a prover.
func classify(err error) (Verdict, string) {
	var d *device.Error
	var r *worker.RunError
	switch {
	case errors.Is(err, errNoHTTP), errors.Is(err, errNotNatural):
		return Skipped, err.Error()
	case errors.As(err, &d):
		switch d.Kind {
		case device.Unreachable, device.HostKey, device.Denied, device.NoShell, device.NoRuntime:
			return Unreachable, d.Reason()
		case device.NotThere, device.DiskFull, device.NoRegistry, device.PullFailed, device.PullTimeout:
			return PullFailed, d.Reason()
		case device.WrongPlatform:
			return WrongPlatform, d.Reason()
		case device.StartFailed:
			if program := notStarted(d.Err.Error()); program != "" {
				return Failed, program
			}
		}
		return Failed, d.Reason()
	case errors.As(err, &r):
		if r.Stage == worker.RunPull {
			return PullFailed, r.Error()
		}
		return Failed, r.Error()
	}
	return Unreachable, err.Error()
}

// hint is what to do next about an error, if it says.
func hint(err error) string {
	var r interface{ Remedy() string }
	if errors.As(err, &r) {
		return r.Remedy()
	}
	return ""
}
