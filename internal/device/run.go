package device

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// The labels of every container that this package starts.
const (
	labelKind  = "build.archmage"       // smoke
	labelOwner = "build.archmage.owner" // Options.Owner and the device's name
	labelRun   = "build.archmage.run"   // Options.Run
	labelUntil = "build.archmage.until" // seconds since 1970 by the device's clock
)

// owner is whose containers these are: two devices may share an engine.
func (d *Device) owner() string { return d.opts.Owner + "/" + d.Spec.Name }

// RunRequest is one run of an image that was pulled.
type RunRequest struct {
	// Image is the ID that Pull gave.
	Image    digest.Digest
	Platform ocispecs.Platform
	// Args are the arguments of the image's own entrypoint; none: the image's.
	Args []string
	Env  map[string]string
	// Files must exist in the container when it has ended.
	Files []string
	// HTTP is asked until it answers as wanted; the container is ended then.
	HTTP *config.HTTP
	// Timeout bounds the run.
	Timeout time.Duration
	// Output is how many bytes of stdout and of stderr are kept, at most 1 MiB.
	Output int64
}

// RunResult is what a run gave.
type RunResult struct {
	// Ended says that the entrypoint ended by itself; ExitCode is its own.
	Ended     bool
	ExitCode  int
	OOMKilled bool
	Stdout    []byte
	Stderr    []byte
	// Truncated says that more was printed than was kept.
	Truncated bool
	// Missing are the files that were not there.
	Missing []string
	// TimedOut says that the run was ended at its timeout.
	TimedOut bool
	// HTTP is the last answer, where one was asked for.
	HTTP *HTTPResult
	Time time.Duration
}

var errRunTimeout = errors.New("the run took longer than its timeout")

// runScript creates, starts and removes one container. The device ends it by
// itself when the connection ends, and at its time limit in any case.
const runScript = `
gone() { %[1]s rm -f -v %[2]s >/dev/null 2>&1 8<&-; }
%[7]s
printf '\n%%s leased\n' "$MARK"
said=$(%[3]s 2>&1 8<&-) || { printf '%%s\n' "$said" >&2; gone; exit 71; }
( while read -r _ <&3; do :; done; i=0; while [ $i -lt 30 ]; do gone; sleep 1; i=$((i+1)); done ) >/dev/null 2>&1 & l=$!
( i=0; while [ $i -lt %[4]d ]; do sleep 1; i=$((i+1)); done; gone ) >/dev/null 2>&1 3<&- & w=$!
exec 6>&1
bound() { head -c %[5]d; cat >/dev/null; }
{ { %[1]s start -a %[2]s 2>&1 >&4 3<&- 4>&- 6>&- 8<&- | bound 1>&2 3<&- 4>&- 6>&-; } 4>&1 | bound >&6 3<&-; }
printf '\n%%s state\n' "$MARK"
%[1]s inspect --format '{{json .State}}' %[2]s 2>/dev/null
%[6]s
gone
kill "$l" "$w" 2>/dev/null
wait "$l" "$w" 2>/dev/null
exit 0
`

// leaseScript waits until no other run uses what run_args give a container of the
// device's own: a port, a pin, a camera. The lock ends with the shell that has it,
// whatever ends that; programs of the runtime that stay do not get it. It is not
// made where somebody has put something else, and a device without flock has none.
const leaseScript = `
if command -v flock >/dev/null 2>&1; then
  [ -e /tmp/archmage.lease ] || (set -C; umask 0; : >/tmp/archmage.lease) 2>/dev/null
  [ -r /tmp/archmage.lease ] && exec 8</tmp/archmage.lease && flock 8
fi`

// leaseTime bounds the wait for another run's case.
const leaseTime = 15 * time.Minute

var errLease = errors.New("other runs have kept the device busy")

const maxKept = 1 << 20

// Run runs an image's own entrypoint in a container of a generated name and
// removes it, whatever happens. The exit code is a result; an Error, or the
// context's cause, means that the entrypoint did not run.
func (d *Device) Run(ctx context.Context, req RunRequest) (RunResult, error) {
	f, err := d.Probe(ctx)
	if err != nil {
		return RunResult{}, err
	}
	name, err := containerName()
	if err != nil {
		return RunResult{}, err
	}
	begin := time.Now()
	run, end := context.WithCancelCause(ctx)
	defer end(nil)
	wait := time.AfterFunc(leaseTime, func() { end(errLease) })
	defer wait.Stop()

	var answer *HTTPResult
	begun, done := make(chan time.Time, 1), make(chan struct{})
	go func() { // the run itself begins with its lease
		defer close(done)
		select {
		case begin = <-begun:
			wait.Stop()
		case <-run.Done():
			return
		}
		defer time.AfterFunc(req.Timeout, func() { end(errRunTimeout) }).Stop()
		if req.HTTP != nil {
			if answer = d.ask(run, f, name, req.HTTP); answer.OK {
				end(errAnswered)
			}
		}
		<-run.Done()
	}()
	kept := min(max(req.Output, 1), maxKept)
	leased := func() { begun <- time.Now() }
	if !d.needsLease() { // a device that hangs before it begins is timed out as well
		leased()
		leased = nil
	}
	o, err := d.scriptUntil(run, d.runBody(f, name, req, kept), "leased", leased)
	end(nil)
	<-done

	result := RunResult{Time: time.Since(begin), HTTP: answer}
	_, o.stdout = o.parts("leased")
	out, trailer := o.parts("state")
	result.Stdout, result.Stderr = out, o.stderr
	result.Truncated = int64(len(out)) >= kept || int64(len(o.stderr)) >= kept
	switch {
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case answer != nil && answer.OK:
		return result, nil
	case errors.Is(context.Cause(run), errRunTimeout):
		result.TimedOut = true
		return result, nil
	case errors.Is(context.Cause(run), errLease):
		return result, d.explain(ctx, &Error{Kind: StartFailed, Err: errLease, Hint: "run the same command again once they have ended"})
	case err != nil:
		return result, d.explain(ctx, err)
	case o.code == 71:
		return result, d.explain(ctx, startReason(string(o.stderr)))
	}
	return result, d.judge(ctx, &result, trailer, req)
}

var errAnswered = errors.New("the HTTP check was answered as wanted")

func containerName() (string, error) {
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("naming a container: %w", err)
	}
	return "archmage-smoke-" + hex.EncodeToString(id[:]), nil
}

func (d *Device) runBody(f *Facts, name string, req RunRequest, kept int64) string {
	limit := int(req.Timeout/time.Second) + 5
	create := []string{"create", "--name", name, "--label", labelKind + "=smoke", "--label", labelOwner + "=" + d.owner(), "--label", labelRun + "=" + d.opts.Run}
	if f.Runtime == "nerdctl" { // its attach reads the log
		create = append(create, "--platform", config.FormatPlatform(req.Platform))
	} else {
		create = append(create, "--log-driver", "none")
	}
	for _, k := range slices.Sorted(maps.Keys(req.Env)) {
		create = append(create, "--env", k+"="+req.Env[k])
	}
	if req.HTTP != nil && d.ownNetwork() == "" {
		create = append(create, "--publish", "127.0.0.1::"+strconv.Itoa(req.HTTP.Port))
	}
	create = append(create, d.Spec.RunArgs...)
	rest := append([]string{req.Image.String()}, req.Args...)
	// The device's clock stands in the label, so it is the shell that adds it.
	command := f.command(create...) + ` --label ` + labelUntil + `=$(($(date +%s) + ` + strconv.Itoa(limit) + `)) ` + quote(rest...)

	files := ""
	for i, file := range req.Files {
		files += fmt.Sprintf("[ \"$(%s 2>/dev/null | head -c 1 | wc -c)\" -gt 0 ] || printf 'missing %d\\n'\n", f.command("cp", name+":"+file, "-"), i)
	}
	lease := ""
	if d.needsLease() {
		lease = leaseScript
	}
	return fmt.Sprintf(runScript, f.command(), quote(name), command, limit, kept, files, lease)
}

// needsLease reports whether containers get what another run's may want as well.
func (d *Device) needsLease() bool { return len(d.Spec.RunArgs) > 0 }

// ownNetwork is the mode that run_args give the container's network; "" if
// they do not.
func (d *Device) ownNetwork() string {
	for i, a := range d.Spec.RunArgs {
		for _, flag := range []string{"--network", "--net"} {
			if v, ok := strings.CutPrefix(a, flag+"="); ok {
				return v
			}
			if a == flag && i+1 < len(d.Spec.RunArgs) {
				return d.Spec.RunArgs[i+1]
			}
		}
	}
	return ""
}

// judge reads the state of the container after its end.
func (d *Device) judge(ctx context.Context, r *RunResult, trailer []byte, req RunRequest) error {
	lines := strings.SplitN(strings.TrimSpace(string(trailer)), "\n", 2)
	var state struct {
		ExitCode  int
		Error     string
		OOMKilled bool
		StartedAt string
		Status    string
	}
	if err := json.Unmarshal([]byte(lines[0]), &state); err != nil {
		return d.explain(ctx, &Error{Kind: StartFailed, Err: errors.New("somebody else removed the container"), Hint: "run the same command again"})
	}
	neverStarted := state.Status == "created" || strings.HasPrefix(state.StartedAt, "0001-")
	if state.Error != "" || neverStarted {
		text := state.Error
		if text == "" {
			text = string(r.Stderr)
		}
		return d.explain(ctx, startReason(text))
	}
	// Some versions of runc start the container, and say so from within it.
	if state.ExitCode != 0 && execFormat.Match(r.Stderr) {
		return d.explain(ctx, startReason(string(r.Stderr)))
	}
	r.Ended, r.ExitCode, r.OOMKilled = true, state.ExitCode, state.OOMKilled
	for _, line := range lines[1:] {
		for word := range strings.SplitSeq(line, "\n") {
			if n, ok := strings.CutPrefix(word, "missing "); ok {
				if i, err := strconv.Atoi(n); err == nil && i < len(req.Files) {
					r.Missing = append(r.Missing, req.Files[i])
				}
			}
		}
	}
	return nil
}

// execFormat is all that runc says of a program for another processor.
var execFormat = regexp.MustCompile(`\A(standard_init_linux\.go:\d+: )?exec [^\n]*exec format error\s*\z`)

// startReason classes what a runtime says when a container does not start.
func startReason(text string) *Error {
	e := &Error{Kind: StartFailed, Err: errors.New(lastLine(text)), Hint: "start the image on the device by hand and see what it says"}
	low := strings.ToLower(text)
	switch {
	case strings.Contains(low, "exec format error"):
		e.Kind, e.Hint = WrongPlatform, "the program in the image is for another processor: see `mage inspect`"
	case strings.Contains(low, "already allocated"), strings.Contains(low, "address already in use"):
		e.Hint = "another program on the device has that port: change run_args, or end the other"
	case strings.Contains(low, "no space left"):
		e.Kind, e.Hint = DiskFull, "free space on the device: `mage wipe -device=NAME`"
	case strings.Contains(low, "no such file or directory"), strings.Contains(low, "executable file not found"):
		e.Hint = "the image lacks its entrypoint, or the interpreter or loader that it names"
	}
	return e
}
