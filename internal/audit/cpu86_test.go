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

// TestX86Levels compares the verdict on programs for amd64 with what a CPU of
// 2008 makes of them: those that it kills are accused, and no others.
func TestX86Levels(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it compiles")
	}
	qemu, err := exec.LookPath("qemu-x86_64-static")
	embeddedtest.Need(t, err == nil, "qemu-x86_64-static is not installed")
	host, _ := serve(t)
	compilers := newToolchain(t)
	client := newClient(t)
	const clones = `-DHOW=__attribute__((target_clones("default","avx2","arch=haswell")))`
	killed, spared := 0, 0
	for _, tt := range []struct{ source, flags string }{
		{"work.c", "-O2 -march=x86-64-v3"}, {"work.c", "-O3 -march=x86-64-v3"}, {"work.c", "-O0 -mavx2 -mfma"}, {"work.c", "-O2 -mavx"}, {"work.c", "-O2 -march=haswell -no-pie"},
		{"work.c", "-O3 -march=skylake-avx512"}, {"work.c", "-O3 -mavx512f -mprefer-vector-width=512"}, {"work.c", "-O2 -mbmi -mbmi2"}, {"work.c", "-Os -march=haswell"}, {"work.c", "-O2 -march=x86-64-v3 -static"},
		{"work.c", "-O3 -mavx2 -static"}, {"work.c", "-O2 -march=x86-64-v3 -static-pie"}, {"work.c", "-O2 -march=x86-64-v3 -s"}, {"work.c", "-O2 -march=x86-64-v3 -s -static"}, {"work.c", "-O3 -march=znver3 -flto"},
		{"sort.cc", "-O2 -march=x86-64-v3"}, {"sort.cc", "-O3 -march=haswell -static"}, {"sort.cc", "-O2 -mavx2 -s"}, {"sort.cc", "-O2"}, {"sort.cc", "-O2 -static"},
		{"work.c", "-O2"}, {"work.c", "-O3 -static"}, {"work.c", "-O2 -s"}, {"work.c", "-O0"}, {"work.c", "-O2 -static-pie -s"},
		{"work.c", "-O2 " + clones}, {"work.c", "-O2 -static " + clones}, {"work.c", "-O0 " + clones},
		{"supports.c", "-O2"}, {"supports.c", "-O0"}, {"supports.c", "-O3 -static"}, {"supports.c", "-O2 -s"},
		{"dispatch.c", "-O2"}, {"dispatch.c", "-O0"}, {"dispatch.c", "-O3 -static"}, {"dispatch.c", "-O2 -s -static"},
		{"context.c", "-O2"}, {"context.c", "-O0"}, {"context.c", "-O3 -static"}, {"context.c", "-O2 -s"},
	} {
		compiler := "gcc"
		if strings.HasSuffix(tt.source, ".cc") {
			compiler = "g++"
		}
		program := compilers.C(t, compiler, tt.source, strings.Fields(tt.flags)...)
		at := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(at, program, 0o700); err != nil {
			t.Fatal(err)
		}
		said, err := exec.CommandContext(t.Context(), qemu, "-cpu", "Nehalem", at).CombinedOutput()
		runs := err == nil && strings.Contains(string(said), "done")
		system := []file{bin("lib64/ld-linux-x86-64.so.2", []byte("x"))}
		k := &kit{repo: repo{t: t, host: host, path: "levels"}, c: compilers}
		ref := k.one(image{platform: "linux/amd64", config: entry("/hello"), layers: []layer{files(t, append(system, bin("hello", program))...)}})
		report, err := audit.Audit(t.Context(), audit.Registry(client), ref, audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		accused := false
		for _, f := range report.Fails(audit.Error) {
			accused = accused || f.ID == "cpu-level" && strings.Contains(strings.Join(f.Evidence, " "), "offset 0x")
		}
		if accused == runs {
			t.Errorf("%s %s: a Nehalem runs it: %t (%s); accused: %t", tt.source, tt.flags, runs, said, accused)
		}
		if runs {
			spared++
		} else {
			killed++
		}
	}
	t.Logf("%d programs are killed and accused, %d run and are not", killed, spared)
	if killed < 15 || spared < 15 {
		t.Error("the test compares too little")
	}
}

// vectors are programs that work on vectors, as they are or after they asked the
// CPU in one of the usual ways.
var vectors = map[string]string{
	"work.c": `#include <stdio.h>
#ifndef HOW
#define HOW
#endif
static float a[1024], b[1024];
__attribute__((noinline)) HOW float work(int n) { float s = 0; for (int i = 0; i < n; i++) { a[i] = a[i] * b[i] + i; s += a[i]; } unsigned long x = n; for (int i = 0; i < n; i++) x = (x >> (i & 31)) ^ (x & -x) ^ (x << (i & 7)); return s + x; }
int main(int c, char **v) { int n = c * 512; for (int i = 0; i < n; i++) b[i] = i * c; printf("done %f\n", work(n)); return 0; }
`,
	"sort.cc": `#include <cstdio>
#include <vector>
#include <algorithm>
#include <memory>
struct B { virtual float f(std::vector<float> &) = 0; virtual ~B() {} };
struct D : B { float f(std::vector<float> &v) override { float s = 0; for (auto &x : v) { x = x * x + 1; s += x; } return s; } };
int main(int c, char **) { std::vector<float> v(c * 512, 2.f); std::unique_ptr<B> b(new D); std::sort(v.begin(), v.end(), [](float x, float y) { return x > y; }); printf("done %f\n", b->f(v)); }
`,
	"supports.c": `#include <stdio.h>
static float a[1024];
__attribute__((noinline, target("avx2,fma"))) static float fast(int n) { float s = 0; for (int i = 0; i < n; i++) { a[i] = a[i] * a[i] + i; s += a[i]; } return s; }
__attribute__((noinline)) static float slow(int n) { float s = 0; for (int i = 0; i < n; i++) { a[i] = a[i] * a[i] + i; s += a[i]; } return s; }
int main(int c, char **v) { __builtin_cpu_init(); printf("done %f\n", __builtin_cpu_supports("avx2") ? fast(c * 512) : slow(c * 512)); return 0; }
`,
	"dispatch.c": `#include <stdio.h>
#include <cpuid.h>
static float a[1024];
static int flags;
static int detect(void) { unsigned x, b, c, d; return __get_cpuid_count(7, 0, &x, &b, &c, &d) && b >> 5 & 1; }
__attribute__((noinline, target("avx2,fma"))) static float fast(int n) { float s = 0; for (int i = 0; i < n; i++) { a[i] = a[i] * a[i] + i; s += a[i]; } return s; }
__attribute__((noinline)) static float slow(int n) { float s = 0; for (int i = 0; i < n; i++) { a[i] = a[i] * a[i] + i; s += a[i]; } return s; }
static float (*chosen)(int);
__attribute__((noinline)) static float run(int n) { return flags ? fast(n) : slow(n); }
int main(int c, char **v) { flags = detect(); chosen = flags ? fast : slow; printf("done %f\n", run(c * 512) + chosen(c * 512)); return 0; }
`,
	"context.c": `#include <stdio.h>
#include <stdlib.h>
#include <cpuid.h>
struct context { int has; float a[1024]; };
static int detect(void) { unsigned x, b, c, d; return __get_cpuid_count(7, 0, &x, &b, &c, &d) && b >> 5 & 1; }
__attribute__((noinline, target("avx2,fma"))) static float fast(struct context *x, int n) { float s = 0; for (int i = 0; i < n; i++) { x->a[i] = x->a[i] * x->a[i] + i; s += x->a[i]; } return s; }
__attribute__((noinline)) static float slow(struct context *x, int n) { float s = 0; for (int i = 0; i < n; i++) { x->a[i] = x->a[i] * x->a[i] + i; s += x->a[i]; } return s; }
__attribute__((noinline)) static struct context *make(void) { struct context *x = calloc(1, sizeof *x); x->has = detect(); return x; }
__attribute__((noinline)) static float run(struct context *x, int n) { return x->has ? fast(x, n) : slow(x, n); }
int main(int c, char **v) { printf("done %f\n", run(make(), c * 512)); return 0; }
`,
}
