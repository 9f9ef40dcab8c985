package embeddedtest_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

func TestMain(m *testing.M) { os.Exit(embeddedtest.Main(m)) }

func TestShared(t *testing.T) {
	worker := embeddedtest.Worker(t)
	if again := embeddedtest.Worker(t); again.PID != worker.PID {
		t.Errorf("two workers, %d and %d", worker.PID, again.PID)
	}
	c, err := client.New(t.Context(), worker.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.ListWorkers(t.Context()); err != nil {
		t.Error(err)
	}

	host := embeddedtest.Registry(t)
	if again := embeddedtest.Registry(t); again != host {
		t.Errorf("two registries, %s and %s", host, again)
	}
	resp, err := http.Get("http://" + host + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the registry answers %s", resp.Status)
	}
	fmt.Printf("[worker %d at %s]\n", worker.PID, worker.Address)

	if own := embeddedtest.NewWorker(t); own.PID == worker.PID {
		t.Error("a worker of the test's own is the shared one")
	}
}

// A test binary leaves neither process nor file behind.
func TestNothingLeft(t *testing.T) {
	embeddedtest.Worker(t) // skips where there can be none
	out, err := exec.Command(os.Args[0], "-test.run=^TestShared$", "-test.count=1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := regexp.MustCompile(`\[worker (\d+) at unix://(\S+)/run/`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("no worker in the output: %s", out)
	}
	if stat, err := os.ReadFile("/proc/" + m[1] + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("worker %s still runs: %s", m[1], stat)
	}
	if _, err := os.Stat(m[2]); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", m[2], err)
	}
}
