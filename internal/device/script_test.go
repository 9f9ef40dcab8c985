package device

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/config"
)

func TestFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		code           int
		ended          bool
	}{
		{"whole", "m begin\nhello\n\nm end 3\n", "hello\n", 3, true},
		{"banner and goodbye", "Welcome\nm begin\nhello\nm end 0\nbye\n", "hello", 0, true},
		{"nothing between", "m begin\n\nm end 0\n", "", 0, true},
		{"cut", "m begin\nhel", "hel", 0, false},
		{"cut within the end", "m begin\nhello\nm end ", "hello\nm end ", 0, false},
		{"no shell", "This account is not available.\n", "", 0, false},
		{"another's mark", "m begin\n\nn end 1\n\nm end 0\n", "\nn end 1\n", 0, true},
	} {
		for _, size := range []int{1, 3, 1 << 10} {
			f := &frame{mark: "m"}
			for in := []byte(tt.in); len(in) > 0; {
				n := min(size, len(in))
				if _, err := f.Write(in[:n]); err != nil {
					t.Fatal(err)
				}
				in = in[n:]
			}
			got, code, ended := f.content()
			if string(got) != tt.want || code != tt.code || ended != tt.ended {
				t.Errorf("%s by %d: %q, %d, %t; want %q, %d, %t", tt.name, size, got, code, ended, tt.want, tt.code, tt.ended)
			}
		}
	}
}

// Whatever is between the marks, memory stays bounded and the end is found.
func TestFrameIsBounded(t *testing.T) {
	t.Parallel()
	f := &frame{mark: "m"}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 8 {
		f.Write(chunk)
	}
	f.Write([]byte("\nm begin\n"))
	for range 8 {
		f.Write(chunk)
	}
	f.Write([]byte("\nm end 7\n"))
	got, code, ended := f.content()
	if len(got) != maxOutput || code != 7 || !ended || cap(f.head)+cap(f.tail) > 4<<20 {
		t.Errorf("%d bytes, code %d, ended %t, buffers %d", len(got), code, ended, cap(f.head)+cap(f.tail))
	}
}

func FuzzFrame(f *testing.F) {
	f.Add("m begin\nhello\n\nm end 3\n", 2)
	f.Add("\nm end 3\nm begin\n", 1)
	f.Fuzz(func(t *testing.T, in string, size int) {
		whole, parts := &frame{mark: "m"}, &frame{mark: "m"}
		whole.Write([]byte(in))
		size = min(max(size, 1), 64)
		for rest := []byte(in); len(rest) > 0; {
			n := min(size, len(rest))
			parts.Write(rest[:n])
			rest = rest[n:]
		}
		a, ac, ae := whole.content()
		b, bc, be := parts.content()
		if !bytes.Equal(a, b) || ac != bc || ae != be {
			t.Errorf("%q in parts of %d: %q, %d, %t; at once: %q, %d, %t", in, size, b, bc, be, a, ac, ae)
		}
	})
}

func TestNativePlatforms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		machine, features string
		compat32          bool
		want              string
	}{
		{"x86_64", "fpu vme", true, "linux/amd64 linux/386"},
		{"i686", "", false, "linux/386"},
		{"armv6l", "half thumb fastmult vfp edsp java tls", false, "linux/arm/v6 linux/arm/v5"}, // Raspberry Pi Zero
		{"armv7l", "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm", false, "linux/arm/v7 linux/arm/v6 linux/arm/v5"},
		{"armv7l", "swp half thumb fastmult edsp", false, "linux/arm/v6 linux/arm/v5"}, // no VFP: v7 images do not run
		{"armv5tejl", "swp half thumb", false, "linux/arm/v5"},
		{"aarch64", "fp asimd evtstrm crc32", false, "linux/arm64"},
		{"aarch64", "fp asimd evtstrm crc32", true, "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"},
		{"armv8l", "", false, "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"},
		{"riscv64", "", false, "linux/riscv64"},
		{"ppc64le", "", false, "linux/ppc64le"},
		{"s390x", "", false, "linux/s390x"},
		{"loongarch64", "", false, "linux/loong64"},
		{"vax", "", false, ""},
	} {
		var got []string
		for _, p := range nativePlatforms(tt.machine, tt.features, tt.compat32) {
			got = append(got, config.FormatPlatform(p))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s (%s): %q, want %q", tt.machine, tt.features, got, tt.want)
		}
	}
}

func TestReadFacts(t *testing.T) {
	t.Parallel()
	text := func(lines ...string) string { return strings.Join(lines, "\n") }
	pi := text("time=1764000000", "kernel=Linux 6.6", "machine=aarch64", "model=Raspberry Pi 4", "features=fp asimd", "compat32=yes", "default=", "runtime=docker 28.1 arm", "free=1024")
	f, err := readFacts(pi, &config.Device{})
	if err != nil || f.Platform != "linux/arm/v7" || f.Natural != "linux/arm/v7" || f.Free != 1<<20 || f.Clock != 1764000000*time.Second {
		t.Errorf("32-bit userland on a 64-bit kernel: %+v, %v", f, err)
	}
	arm64, err := config.ParsePlatform("linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	if !f.Emulates(arm64) || len(f.Native) != 4 {
		t.Errorf("a 32-bit runtime is taken to prove %v", f.Native)
	}
	if f, err := readFacts(pi, &config.Device{Platform: &arm64}); err != nil || f.Emulates(arm64) {
		t.Errorf("declared to run 64 bits: %+v, %v", f, err)
	}
	f, err = readFacts(strings.Replace(pi, "docker 28.1 arm", "docker 28.1 arm64", 1), &config.Device{})
	if err != nil || f.Platform != "linux/arm64" {
		t.Errorf("64-bit userland: %+v, %v", f, err)
	}
	v6, err := config.ParsePlatform("linux/arm/v6")
	if err != nil {
		t.Fatal(err)
	}
	f, err = readFacts(pi, &config.Device{Platform: &v6})
	if err != nil || f.Platform != "linux/arm/v6" || f.Natural != "linux/arm/v7" || f.Emulates(v6) {
		t.Errorf("declared: %+v, %v", f, err)
	}
	if _, err := readFacts(text("machine=vax", "runtime=docker 1 vax"), &config.Device{}); err == nil {
		t.Error("an unknown machine has a platform")
	}
	if _, err := readFacts(strings.Replace(pi, "default=", "default=linux/banana", 1), &config.Device{}); err == nil {
		t.Error("DOCKER_DEFAULT_PLATFORM may be anything")
	}
}

func TestPullReason(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]Kind{
		"failed to register layer: write /x: no space left on device":                                        DiskFull,
		"Error response from daemon: manifest for a@sha256:1 not found: manifest unknown":                    NotThere,
		"Get \"https://r/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused":                        NoRegistry,
		"Error response from daemon: Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client": NoRegistry,
		"unauthorized: authentication required":                                                              NoRegistry,
		"no matching manifest for linux/arm/v6 in the manifest list entries":                                 WrongPlatform,
		"something else": PullFailed,
		"":               PullFailed,
	} {
		if e := pullReason(said); e.Kind != want || e.Hint == "" || e.Error() == "" {
			t.Errorf("%q: %s, want %s", said, e.Kind, want)
		}
	}
}

// A script holds values as words only.
func TestRunBodyQuotes(t *testing.T) {
	t.Parallel()
	d := New(&config.Device{Name: "x", Host: "x", RunArgs: []string{"--device=/dev/x; reboot"}}, Options{Owner: "$(reboot)"})
	body := d.runBody(&Facts{Runtime: "docker"}, "name", RunRequest{Image: "sha256:1", Args: []string{"`reboot`", "a'b"}, Env: map[string]string{"A": "$(reboot)"}, Files: []string{"/x;reboot"}, Timeout: time.Second}, 10)
	for _, word := range []string{`'--device=/dev/x; reboot'`, "'`reboot`'", `'a'"'"'b'`, `'A=$(reboot)'`, `'name:/x;reboot'`, `'build.archmage.owner=$(reboot)/x'`} {
		if !strings.Contains(body, word) {
			t.Errorf("no %s in:\n%s", word, body)
		}
	}
}
