package worker

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// Each probe is a sound ELF file and, where an emulator is here, exits with 0.
func TestExitProgram(t *testing.T) {
	t.Parallel()
	qemu := map[string]string{"amd64": "x86_64", "386": "i386", "arm64": "aarch64", "arm": "arm", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x"}
	for arch := range exits {
		data, ok := exitProgram(arch)
		f, err := elf.NewFile(bytes.NewReader(data))
		if !ok || err != nil || f.Machine != exits[arch].machine {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		path := filepath.Join(t.TempDir(), "probe")
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
		emulator, err := exec.LookPath("qemu-" + qemu[arch] + "-static")
		if errors.Is(err, exec.ErrNotFound) {
			t.Logf("no emulator for %s here", arch)
			continue
		}
		if out, err := exec.Command(emulator, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", arch, err, out)
		}
	}
	if _, ok := exitProgram("mips"); ok {
		t.Error("there is a probe for mips")
	}
}

// What the daemon says it can run, it can; what it says it cannot, it cannot.
func TestRuns(t *testing.T) {
	t.Parallel()
	d := embeddedtest.NewWorker(t)
	w, err := Connect(t.Context(), &config.Worker{Name: "here"}, d.Address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	for arch := range exits {
		p := ocispecs.Platform{OS: "linux", Architecture: arch}
		if arch == "arm" {
			p.Variant = "v7"
		}
		got, err := w.Runs(t.Context(), p)
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		if said := contains(w.Platforms, p); got != said && arch != "386" { // BuildKit reports 386 only sometimes
			t.Errorf("%s: it runs is %t, the daemon said %t", arch, got, said)
		}
	}
}
