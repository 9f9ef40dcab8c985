package audit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// TestAtomics compares the verdict on programs for arm64 with what a CPU of
// ARMv8.0 makes of them: those that it kills are accused, the others are not.
func TestAtomics(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it compiles")
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	embeddedtest.Need(t, err == nil, "qemu-aarch64-static is not installed")
	host, _ := serve(t)
	compilers := newToolchain(t)
	client := newClient(t)
	killed, spared := 0, 0
	for name, flags := range map[string]string{
		"v8.0": "-mno-outline-atomics", "outline": "-moutline-atomics", "outline-O0": "-moutline-atomics -O0", "stripped": "-s -moutline-atomics", "no-optimisation": "-O0 -mno-outline-atomics",
		"v8.1": "-march=armv8.1-a", "v8.2-O3": "-march=armv8.2-a -O3", "lse": "-march=armv8-a+lse", "neoverse": "-mcpu=neoverse-n1", "v8.1-stripped": "-march=armv8.1-a -s", "v8.1-O0": "-march=armv8.1-a -O0",
	} {
		program := compilers.C(t, "aarch64-linux-gnu-gcc", "atomic.c", append([]string{"-static", "-O2"}, strings.Fields(flags)...)...)
		at := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(at, program, 0o700); err != nil {
			t.Fatal(err)
		}
		said, err := exec.CommandContext(t.Context(), qemu, "-cpu", "cortex-a72", at).CombinedOutput()
		runs := err == nil && strings.Contains(string(said), "done")
		k := &kit{repo: repo{t: t, host: host, path: "atomics/" + strings.ToLower(name)}, c: compilers}
		report, err := audit.Audit(t.Context(), audit.Registry(client), k.wrong("linux/arm64", program), audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		accused := false
		for _, f := range report.Fails(audit.Error) {
			accused = accused || f.ID == "cpu-level"
		}
		if accused == runs {
			t.Errorf("%s: a Cortex-A72 runs it: %t (%s); accused: %t", name, runs, said, accused)
		}
		if runs {
			spared++
		} else {
			killed++
		}
	}
	t.Logf("%d programs are killed and accused, %d run and are not", killed, spared)
	if killed == 0 || spared == 0 {
		t.Error("the test compares nothing")
	}
}
