package rootfs

import (
	"bufio"
	"encoding/hex"
	"os/exec"
	"strings"
	"testing"
)

// TestDecodeX86 compares the lengths of instructions with what objdump reads,
// over the code of a real program and of a library with much vector code.
func TestDecodeX86(t *testing.T) {
	t.Parallel()
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("there is no objdump")
	}
	for _, name := range []string{"/bin/bash", "/lib/x86_64-linux-gnu/libc.so.6"} {
		cmd := exec.CommandContext(t.Context(), objdump, "-d", "-w", "-z", "--section=.text", name)
		out, err := cmd.StdoutPipe()
		if err != nil || cmd.Start() != nil {
			t.Skip("objdump does not start")
		}
		n, wrong := 0, 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fields := strings.SplitN(lines.Text(), "\t", 3)
			if len(fields) < 3 || strings.Contains(fields[2], "(bad)") || strings.HasPrefix(fields[2], ".byte") || strings.HasPrefix(fields[2], "data16") || strings.HasPrefix(fields[2], "rex") {
				continue
			}
			raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(fields[1]), " ", ""))
			if err != nil {
				continue
			}
			n++
			in, ok := decodeX86(append(raw, make([]byte, 15)...))
			vector := strings.HasPrefix(fields[2], "v") && raw[0] != 0x0f && !strings.HasPrefix(fields[2], "ver")
			if !ok || in.size != len(raw) || vector && in.needs == 0 {
				if wrong++; wrong < 10 {
					t.Errorf("%s: % x %s: %d bytes, %t, level %d", name, raw, fields[2], in.size, ok, in.needs)
				}
			}
		}
		_ = cmd.Wait()
		if n < 1000 {
			t.Skip(name + " is not for amd64")
		}
		t.Logf("%s: %d instructions, %d read otherwise", name, n, wrong)
	}
}

// FuzzX86 reads bytes as code: instructions lie within them.
func FuzzX86(f *testing.F) {
	f.Add([]byte("\xc4\xe2\xfd\xa8\xc1\x0f\xa2\xe8\x00\x00\x00\x00\xc3"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if in, ok := decodeX86(raw); ok && (in.size < 1 || in.size > 15 || in.size > len(raw)) {
			t.Fatalf("%x: %+v", raw, in)
		}
	})
}
