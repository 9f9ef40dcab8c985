package devtools

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// event is a line of `go test -json`: https://pkg.go.dev/cmd/test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

// tally counts top-level tests and keeps what people must see.
type tally struct {
	passed, failed int
	skips          []string
	output         map[string][]string
}

// Test runs go vet and all tests with the race detector, and names every test
// that was skipped and for want of what.
func Test(ctx context.Context, args ...string) error {
	if err := run(ctx, "", "go", "vet", "./..."); err != nil {
		return err
	}
	t := &tally{output: map[string][]string{}}
	err := t.module(ctx, ".", append([]string{"./..."}, args...)...)
	err = errors.Join(err, t.module(ctx, "testdata/hello", "./..."))
	slices.Sort(t.skips)
	for _, s := range t.skips {
		fmt.Println("SKIPPED " + s)
	}
	// The closing line that test summaries are known by.
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, len(t.skips))
	if err == nil && t.passed == 0 {
		err = errors.New("no test ran")
	}
	return err
}

// module runs the tests of one module.
func (t *tally) module(ctx context.Context, dir string, args ...string) error {
	args = append([]string{"test", "-race", "-json", "-timeout=20m"}, args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("running go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running go test: %w", err)
	}
	t.read(out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("testing %s: %w", dir, err)
	}
	return nil
}

func (t *tally) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text()) // a build error is not always JSON
			continue
		}
		t.take(e)
	}
}

func (t *tally) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Test == "" && strings.HasPrefix(e.Output, "ok ") || e.Action == "build-output" {
			fmt.Print(e.Output)
		}
		t.output[key] = append(t.output[key], e.Output)
		return
	case "pass":
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			t.passed++
		}
	case "skip":
		if e.Test != "" {
			t.skips = append(t.skips, key+": "+reason(t.output[key]))
		}
	case "fail":
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			t.failed++
		}
		fmt.Print(strings.Join(t.output[key], ""))
	default:
		return
	}
	delete(t.output, key)
}

// reason is what a test said when it skipped.
func reason(output []string) string {
	for _, l := range output {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "===") || strings.HasPrefix(l, "---") {
			continue
		}
		if _, after, ok := strings.Cut(l, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				return text
			}
		}
		return l
	}
	return "no reason was given"
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
