package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/archmage-build/archmage/internal/config"
)

func TestPlatformEnv(t *testing.T) {
	t.Parallel()
	common := map[string]string{"CGO_ENABLED": "0", "GOARM": "", "GOAMD64": "", "GOARM64": "", "TARGETVARIANT": ""}
	for platform, want := range map[string]map[string]string{
		"linux/amd64":    {"TARGETPLATFORM": "linux/amd64", "TARGETOS": "linux", "TARGETARCH": "amd64", "GOOS": "linux", "GOARCH": "amd64"},
		"linux/amd64/v3": {"TARGETPLATFORM": "linux/amd64/v3", "TARGETOS": "linux", "TARGETARCH": "amd64", "TARGETVARIANT": "v3", "GOOS": "linux", "GOARCH": "amd64", "GOAMD64": "v3"},
		"linux/arm64":    {"TARGETPLATFORM": "linux/arm64", "TARGETOS": "linux", "TARGETARCH": "arm64", "GOOS": "linux", "GOARCH": "arm64"},
		"linux/arm64/v8": {"TARGETPLATFORM": "linux/arm64", "TARGETOS": "linux", "TARGETARCH": "arm64", "GOOS": "linux", "GOARCH": "arm64"},
		"linux/arm64/v9": {"TARGETPLATFORM": "linux/arm64/v9", "TARGETOS": "linux", "TARGETARCH": "arm64", "TARGETVARIANT": "v9", "GOOS": "linux", "GOARCH": "arm64", "GOARM64": "v9.0"},
		"linux/arm":      {"TARGETPLATFORM": "linux/arm/v7", "TARGETOS": "linux", "TARGETARCH": "arm", "TARGETVARIANT": "v7", "GOOS": "linux", "GOARCH": "arm", "GOARM": "7"},
		"linux/arm/v5":   {"TARGETPLATFORM": "linux/arm/v5", "TARGETOS": "linux", "TARGETARCH": "arm", "TARGETVARIANT": "v5", "GOOS": "linux", "GOARCH": "arm", "GOARM": "5"},
		"linux/arm/v6":   {"TARGETPLATFORM": "linux/arm/v6", "TARGETOS": "linux", "TARGETARCH": "arm", "TARGETVARIANT": "v6", "GOOS": "linux", "GOARCH": "arm", "GOARM": "6"},
		"linux/arm/v8":   {"TARGETPLATFORM": "linux/arm/v8", "TARGETOS": "linux", "TARGETARCH": "arm", "TARGETVARIANT": "v8", "GOOS": "linux", "GOARCH": "arm", "GOARM": "7"},
		"linux/riscv64":  {"TARGETPLATFORM": "linux/riscv64", "TARGETOS": "linux", "TARGETARCH": "riscv64", "GOOS": "linux", "GOARCH": "riscv64"},
		"windows/amd64":  {"TARGETPLATFORM": "windows/amd64", "TARGETOS": "windows", "TARGETARCH": "amd64", "GOOS": "windows", "GOARCH": "amd64"},
	} {
		full := maps.Clone(common)
		maps.Copy(full, want)
		b := builds(t, "target \"a\" {\nplatforms = [\""+platform+"\"]\ntags = [\"r.example/a:1\"]\n}")[0]
		if diff := cmp.Diff(full, platformEnv(b, Options{})); diff != "" {
			t.Errorf("%s: %s", platform, diff)
		}
		at := epoch2001
		if got := platformEnv(b, Options{Epoch: &at})["SOURCE_DATE_EPOCH"]; got != "1000000000" {
			t.Errorf("%s: epoch %q", platform, got)
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"TARGETARCH": "arm", "EMPTY": ""}[name]
		return v, ok
	}
	for text, want := range map[string]string{
		"dist/$TARGETARCH/${TARGETARCH}.bin":        "dist/arm/arm.bin",
		"[$EMPTY]":                                  "[]",
		"$TARGETARCHX ${TARGETARCHX}":               "$TARGETARCHX ${TARGETARCHX}",
		"$$TARGETARCH $$$TARGETARCH":                "$$TARGETARCH $$arm",
		"for f in *; do echo $f; done":              "for f in *; do echo $f; done",
		"$1 $? $$ ${x:-y} $(date) $@ ${}":           "$1 $? $$ ${x:-y} $(date) $@ ${}",
		"awk '{ print $1 }' $(CC) ${TARGETARCH:-x}": "awk '{ print $1 }' $(CC) ${TARGETARCH:-x}",
		"cost: 5$": "cost: 5$",
		"${":       "${",
	} {
		if got := expand(text, lookup); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// What is not of the platform or written in the block reaches a command through
// its environment alone.
func TestPrepareCommand(t *testing.T) {
	t.Parallel()
	const hostile = `x"; touch owned; echo "`
	environ := map[string]string{"BRANCH": hostile, "TOKEN": "s3cr3t", "HOME": "/home/me", "GOARCH": "of the environment", "sh": "zsh"}
	o := Options{LookupEnv: func(k string) (string, bool) { v, ok := environ[k]; return v, ok }}
	for k, v := range environ {
		o.Environ = append(o.Environ, k+"="+v)
	}
	platform := map[string]string{"TARGETARCH": "arm", "GOARCH": "arm"}
	for name, tt := range map[string]struct {
		command []string
		env     map[string]string
		args    []string
		sees    map[string]string
	}{
		"the platform":       {[]string{"go", "build", "-o", "dist/$TARGETARCH-${GOARCH}"}, nil, []string{"go", "build", "-o", "dist/arm-arm"}, map[string]string{"GOARCH": "arm"}},
		"the environment":    {[]string{"deploy", "$TOKEN", "${TOKEN}", "$HOME/x"}, nil, []string{"deploy", "$TOKEN", "${TOKEN}", "$HOME/x"}, map[string]string{"TOKEN": "s3cr3t"}},
		"a script":           {[]string{"sh", "-c", `echo "$BRANCH $TOKEN $TARGETARCH"`}, nil, []string{"sh", "-c", `echo "$BRANCH $TOKEN arm"`}, map[string]string{"BRANCH": hostile}},
		"env":                {[]string{"make", "OUT=$OUT"}, map[string]string{"OUT": "dist/$TARGETARCH"}, []string{"make", "OUT=dist/arm"}, map[string]string{"OUT": "dist/arm"}},
		"env with blanks":    {[]string{"go", "build", "-ldflags", "$FLAGS"}, map[string]string{"FLAGS": "-s -w"}, []string{"go", "build", "-ldflags", "-s -w"}, nil},
		"env over platform":  {[]string{"echo", "$GOARCH"}, map[string]string{"GOARCH": "mine"}, []string{"echo", "mine"}, map[string]string{"GOARCH": "mine"}},
		"env in a script":    {[]string{"env", "bash", "-euc", `echo "$X"`}, map[string]string{"X": hostile}, []string{"env", "bash", "-euc", `echo "$X"`}, map[string]string{"X": hostile}},
		"behind the script":  {[]string{"sh", "-c", "-e", `echo "$1 $X"`, "_", "$X"}, map[string]string{"X": hostile}, []string{"sh", "-c", "-e", `echo "$1 $X"`, "_", hostile}, nil},
		"env of environment": {[]string{"echo", "$B", "$P"}, map[string]string{"B": "b-$BRANCH", "P": "$HOME/bin:$TARGETARCH"}, []string{"echo", "$B", "$P"}, map[string]string{"B": "b-" + hostile, "P": "/home/me/bin:arm"}},
		"hidden platform":    {[]string{"echo", "$GOARCH"}, map[string]string{"GOARCH": "$TOKEN"}, []string{"echo", "$GOARCH"}, map[string]string{"GOARCH": "s3cr3t"}},
		"hidden in a script": {[]string{"/bin/sh", "-c", "echo $GOARCH"}, map[string]string{"GOARCH": "mine"}, []string{"/bin/sh", "-c", "echo $GOARCH"}, map[string]string{"GOARCH": "mine"}},
		"no value":           {[]string{"echo", "$NOTHING", "$sh"}, map[string]string{"E": "$NOTHING"}, []string{"echo", "$NOTHING", "$sh"}, map[string]string{"E": "$NOTHING"}},
		"not a script":       {[]string{"tar", "-c", "$DIR"}, map[string]string{"DIR": "a b"}, []string{"tar", "-c", "a b"}, nil},
		"a program":          {[]string{"$TOOL", "x"}, map[string]string{"TOOL": "bin/$TARGETARCH/x"}, []string{"bin/arm/x", "x"}, nil},
	} {
		args, env := prepareCommand(&config.Prepare{Command: tt.command, Env: tt.env}, platform, o)
		if diff := cmp.Diff(tt.args, args); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		sees := map[string]string{} // the last one counts, as for os/exec
		for _, kv := range env {
			k, v, _ := strings.Cut(kv, "=")
			sees[k] = v
		}
		for k, want := range tt.sees {
			if sees[k] != want {
				t.Errorf("%s: it sees %s=%q, want %q", name, k, sees[k], want)
			}
		}
	}
}

// A real shell gets what the environment holds as data, and neither the log nor
// the error tells it.
func TestPrepareKeepsSecrets(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"true", "false"} {
		dir := t.TempDir()
		out, err := prepared(t.Context(), t, dir, `
			command = ["sh", "-c", "printf '%s|%s|%s' \"$WORD\" \"$OWN\" \"$MIXED\" > got; `+end+`"]
			env     = { OWN = "\"; touch owned; \"", MIXED = "$WORD" }
		`)
		if (err != nil) != (end == "false") {
			t.Fatal(err)
		}
		got, rerr := os.ReadFile(filepath.Join(dir, "app/got"))
		if want := `of the environment|"; touch owned; "|of the environment`; rerr != nil || string(got) != want {
			t.Errorf("the command got %q, %v; want %q", got, rerr, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "app/owned")); err == nil {
			t.Error("a value ran as a program")
		}
		if text := out + fmt.Sprint(err); strings.Contains(text, "of the environment") || strings.Contains(text, "touch owned") {
			t.Errorf("a value is shown:\n%s", text)
		}
		if !strings.Contains(out, `prepare sh -c printf '%s|%s|%s' "$WORD" "$OWN" "$MIXED" > got`) {
			t.Errorf("the command is not shown as it is written:\n%s", out)
		}
	}
}

// Of many commands as many run side by side as there are CPUs.
func TestPrepareSideBySide(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 3 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			if _, err := prepared(t.Context(), t, dir, `
				dir     = "."
				command = ["sh", "-c", "mkdir run.$$; ls -d run.* | wc -l >> counts; sleep 0.2; rmdir run.$$"]
			`); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	data, err := os.ReadFile(filepath.Join(dir, "counts"))
	if err != nil {
		t.Fatal(err)
	}
	for count := range strings.FieldsSeq(string(data)) {
		if n, err := strconv.Atoi(count); err != nil || n > runtime.GOMAXPROCS(0) {
			t.Errorf("%s side by side, of at most %d", count, runtime.GOMAXPROCS(0))
		}
	}
	// One that waits for its turn can be interrupted.
	for range runtime.GOMAXPROCS(0) {
		if err := preparing.Acquire(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		defer preparing.Release(1)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the user pressed Ctrl-C")
	cancel(stop)
	if _, err := prepared(ctx, t, dir, `command = ["true"]`); !errors.Is(err, stop) {
		t.Errorf("%v, want the reason of the interrupt", err)
	}
}

// prepared runs a prepare block with this body and returns what was shown.
func prepared(ctx context.Context, t *testing.T, dir, body string) (string, error) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the commands are a Unix shell's")
	}
	b := builds(t, "target \"a\" {\nplatforms = [\"linux/arm/v6\"]\ntags = [\"r.example/a:1\"]\ncontext = \"app\"\nprepare {\n"+body+"\n}\n}")[0]
	write(t, dir, map[string]string{"app/Dockerfile": "FROM scratch\n"})
	var out bytes.Buffer
	d, err := NewDisplay(&out, ModePlain)
	if err != nil {
		t.Fatal(err)
	}
	err = Prepare(ctx, b, d, Options{Dir: dir, Environ: append(os.Environ(), "WORD=of the environment", "GOARCH=other"), LookupEnv: func(k string) (string, bool) {
		return "of the environment", k == "WORD"
	}})
	d.Close()
	return out.String(), err
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := prepared(t.Context(), t, dir, `
		command = ["sh", "-c", "for f in D*; do echo found $f; done; echo $WORD, $OWN, $GOARCH $GOARM; echo to stderr >&2; mkdir -p $OWN; pwd > $OWN/where"]
		env     = { OWN = "dist/$TARGETPLATFORM" }
	`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[a linux/arm/v6] prepare sh -c", "found Dockerfile", "of the environment, dist/linux/arm/v6, arm 6", "to stderr", "DONE"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if where, err := os.ReadFile(filepath.Join(dir, "app/dist/linux/arm/v6/where")); err != nil || strings.TrimSpace(string(where)) != filepath.Join(dir, "app") {
		t.Errorf("ran in %q, %v", where, err)
	}

	if err := os.Mkdir(filepath.Join(dir, "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err = prepared(t.Context(), t, dir, "command = [\"pwd\"]\ndir = \"tools\"")
	if err != nil || !strings.Contains(out, filepath.Join(dir, "tools")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestPrepareFails(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		text, log, hint string
	}{
		`command = ["sh", "-c", "echo first; echo the reason >&2; exit 7"]`: {"exit status 7", "the reason", "by hand"},
		`command = ["archmage-no-such-program", "$TARGETARCH"]`:             {"archmage-no-such-program", "", "install archmage-no-such-program"},
		`command = ["./no-such-script"]`:                                    {"no-such-script", "", "by hand"},
		"command = [\"true\"]\ndir = \"no-such-dir\"":                       {"no-such-dir", "", "by hand"},
	} {
		_, err := prepared(t.Context(), t, t.TempDir(), body)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if !strings.Contains(e.Error(), want.text) || !strings.Contains(strings.Join(e.Log, "\n"), want.log) || !strings.Contains(e.Hint, want.hint) || !strings.HasPrefix(e.Step, "prepare: ") {
			t.Errorf("%s: %v (%s)", body, e, e.Hint)
		}
	}
}

func TestPrepareLongLines(t *testing.T) {
	t.Parallel()
	// More than any buffer, and more than a pipe holds: a reader that gave up
	// would leave the command waiting.
	out, err := prepared(t.Context(), t, t.TempDir(), `command = ["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after; printf 'no end'"]`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "after") || !strings.Contains(out, "no end") || !strings.Contains(out, "x …") || len(out) > 4*maxLine {
		t.Errorf("%d bytes of output: %.100q … %q", len(out), out, out[max(0, len(out)-200):])
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*maxLine)
	for text, want := range map[string][]string{
		"":             nil,
		"a":            {"a"},
		"a\n\nb\r\n":   {"a", "", "b"},
		long + "\nb":   {long[:maxLine] + " …", "b"},
		long:           {long[:maxLine] + " …"},
		long[:maxLine]: {long[:maxLine]},
	} {
		var got []string
		lines(strings.NewReader(text), func(l string) { got = append(got, l) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.20q (%d bytes): %s", text, len(text), diff)
		}
	}
}

func TestPrepareCancelled(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"a child":                          "echo $$ > pids; sleep 300",
		"a child that ignores it":          "trap '' INT TERM; echo $$ > pids; while :; do sleep 0.1; done",
		"a grandchild that ignores it":     "sh -c 'trap \"\" INT; echo $$ >> pids; while :; do sleep 0.1; done' & sleep 300",
		"one that left the output as well": "(trap '' INT; exec sh -c 'echo $$ > pids; while :; do sleep 0.1; done') > /dev/null 2>&1 & sleep 300",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("the user pressed Ctrl-C")
			pids := filepath.Join(dir, "app", "pids")
			ended := make(chan error, 1)
			go func() {
				// The shell's own variables stay the shell's.
				_, err := prepared(ctx, t, dir, "command = [\"sh\", \"-c\", \""+strings.ReplaceAll(strings.ReplaceAll(script, `\`, `\\`), `"`, `\"`)+"\"]")
				ended <- err
			}()
			await(t, "process", func() bool {
				data, err := os.ReadFile(pids)
				return err == nil && bytes.HasSuffix(data, []byte("\n"))
			})
			cancel(stop)
			begin := time.Now()
			if err := <-ended; !errors.Is(err, stop) {
				t.Errorf("%v, want the reason of the interrupt", err)
			}
			if took := time.Since(begin); took > prepareGrace+15*time.Second {
				t.Errorf("ended after %s", took)
			}
			data, err := os.ReadFile(pids)
			if err != nil {
				t.Fatal(err)
			}
			for pid := range strings.FieldsSeq(string(data)) {
				if _, err := strconv.Atoi(pid); err != nil {
					t.Fatalf("pids %q", data)
				}
				await(t, "end of process "+pid, func() bool {
					out, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
					return err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
				})
			}
		})
	}
}

// What a command leaves behind does not keep the build from going on, nor
// disturb a display that is closed.
func TestPrepareLeavesChild(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	out, err := prepared(t.Context(), t, t.TempDir(), `command = ["sh", "-c", "(while echo tick; do sleep 0.05; done) & echo begun"]`)
	if err != nil || !strings.Contains(out, "begun") {
		t.Errorf("%v:\n%s", err, out)
	}
	if took := time.Since(begin); took > prepareGrace+5*time.Second {
		t.Errorf("ended after %s", took)
	}
}
