package audit

import "testing"

func TestNamesArch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, arch string
		want       bool
	}{
		{"linux-arm64", "arm64", true}, {"linux_x86_64", "amd64", true}, {"linux_x86_64", "386", false}, {"lib-x86", "386", true},
		{"aarch64-linux-gnu", "arm64", true}, {"arm64", "arm", false}, {"linux-armv7l", "arm", true}, {"charm", "arm", false},
		{"agent-AMD64.bin", "amd64", true}, {"x86-64-v3", "386", false}, {"", "arm", false}, {"powerpc64le", "ppc64le", true}, {"i386", "386", true},
	} {
		if got := namesArch(tt.name, tt.arch); got != tt.want {
			t.Errorf("%q names %s: %t, want %t", tt.name, tt.arch, got, tt.want)
		}
	}
}

func TestNewer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"v8.1", "v8.0", true}, {"v8.0", "v8", false}, {"v8.2", "v9", false}, {"v9.0", "v8.0", true}, {"v9", "v9.2", false}, {"", "v8.0", false}, {"v8.6", "v9", true},
	} {
		if got := newer(tt.a, tt.b); got != tt.want {
			t.Errorf("%q is newer than %q: %t, want %t", tt.a, tt.b, got, tt.want)
		}
	}
}
