package index_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

const crashDir = "ARCHMAGE_TEST_CRASH_DIR"

// TestCrashHelper is no test but the process that TestCrash kills: it changes
// a draft without end, and says so each time.
func TestCrashHelper(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return // TestCrash runs it
	}
	for i := 0; ; i++ {
		if _, err := index.Annotate(dir, "hello", crashAnnotations(i%2), nil); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(os.Stdout, "changed")
	}
}

func crashAnnotations(i int) []index.Annotation {
	return []index.Annotation{{Level: index.LevelIndex, Key: "k", Value: fmt.Sprint(i)}}
}

// TestCrash kills a process that changes a draft, at any moment: the draft is
// the one or the other, whole, and the next step works.
func TestCrash(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	assembled(t, client, dir, registrytest.Serve(t)+"/hello", true)
	honest := map[digest.Digest]bool{}
	for i := range 2 {
		d, err := index.Annotate(dir, "hello", crashAnnotations(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		honest[d.Descriptor.Digest] = true
	}
	for range 20 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashHelper$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the process changed nothing")
		}
		// Anywhere within the next few changes.
		timer := time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
		}
		_ = cmd.Wait()
		timer.Stop()
		d, err := index.Open(dir, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if !honest[d.Descriptor.Digest] {
			t.Fatalf("the draft is %s: %s", d.Descriptor.Digest, d.Raw)
		}
		for _, desc := range d.Index.Manifests {
			if _, err := d.Blob(desc); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := index.Annotate(dir, "hello", crashAnnotations(0), nil); err != nil {
		t.Fatal(err)
	}
}
