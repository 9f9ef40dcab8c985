package build

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		"dist/$TARGETARCH/${TARGETARCH}.bin": "dist/arm/arm.bin",
		"[$EMPTY]":                           "[]",
		"for f in *; do echo $f; done":       "for f in *; do echo ${f}; done",
		"$1 $? $$ ${x:-y} $(date)":           "${1} ${?} ${$} ${x:-y} $(date)",
		"cost: 5$":                           "cost: 5$",
	} {
		if got := expand(text, lookup); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
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
