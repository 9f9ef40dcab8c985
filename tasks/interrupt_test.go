package tasks_test

import (
	"bufio"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// Ctrl-C in the middle of a step ends the release and the step on the worker
// within seconds, and no tag has moved: under mage, and in the command.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	host, worker := embeddedtest.Registry(t), embeddedtest.Worker(t)
	for name, binary := range map[string]string{"mage": compiled(t), "command": command(t)} {
		// One after the other: the steps are told by what they run.
		t.Run(name, func(t *testing.T) { interrupt(t, binary, host, worker.Address) })
	}
}

func interrupt(t *testing.T, binary, host, worker string) {
	dir := t.TempDir()
	copyFile(t, embeddedtest.Busybox(t), filepath.Join(dir, "busybox"))
	text := `target "app" {
  tags      = ["` + host + `/interrupt:1"]
  platforms = ["linux/amd64"]
  no-cache  = true
  dockerfile-inline = <<EOT
FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo step has begun; exec /busybox sleep 98765"]
EOT
}`
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "release")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUILDKIT_HOST="+worker, "BUILDKIT_PROGRESS=plain", "HOME="+dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
		if strings.HasSuffix(lines.Text(), " step has begun") {
			break
		}
	}
	if sleepers(t) == 0 {
		t.Fatalf("no step runs on the worker:\n%s", strings.Join(all, "\n"))
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	for lines.Scan() {
		all = append(all, lines.Text())
	}
	err = cmd.Wait()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != 130 {
		t.Errorf("ended with %v, want exit code 130:\n%s", err, strings.Join(all, "\n"))
	}
	if took := time.Since(asked); took > 5*time.Second {
		t.Errorf("it took %s to end", took)
	}
	for deadline := time.Now().Add(5 * time.Second); sleepers(t) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the step runs on")
		}
		time.Sleep(20 * time.Millisecond)
	}
	resp, err := registrytest.HTTP.Get("http://" + host + "/v2/interrupt/manifests/1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the tag: %s", resp.Status)
	}
}

// sleepers counts the processes of the step, by the command line that is only
// theirs.
func sleepers(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		data, _ := os.ReadFile(f) // gone meanwhile
		if string(data) == "/busybox\x00sleep\x0098765\x00" {
			n++
		}
	}
	return n
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}
