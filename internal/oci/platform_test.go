package oci_test

import (
	"slices"
	"testing"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// Every pair of platforms with every pair of versions and features, against
// the rule in one line each.
func TestPlatformConflict(t *testing.T) {
	t.Parallel()
	names := []string{"linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm", "linux/arm/v7", "linux/arm/v6", "windows/amd64", "linux/x86_64"}
	same := map[string]string{"linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7", "linux/x86_64": "linux/amd64"}
	plain := func(name string) string {
		if s, ok := same[name]; ok {
			return s
		}
		return name
	}
	versions := []string{"", "10.0.1", "10.0.2"}
	features := [][]string{nil, {"win32k"}, {"win32k", "x"}}
	for _, a := range names {
		for _, b := range names {
			for _, va := range versions {
				for _, vb := range versions {
					for _, fa := range features {
						for _, fb := range features {
							config, entry := parse(t, a), parse(t, b)
							config.OSVersion, config.OSFeatures = va, fa
							entry.OSVersion, entry.OSFeatures = vb, fb
							fits := plain(a) == plain(b) && (va == "" || vb == "" || va == vb) &&
								!slices.ContainsFunc(fa, func(f string) bool { return !slices.Contains(fb, f) })
							if got := oci.PlatformConflict(config, entry); (got == "") != fits {
								t.Fatalf("config %v, entry %v: %q", config, entry, got)
							}
						}
					}
				}
			}
		}
	}
}

func parse(t *testing.T, name string) ocispecs.Platform {
	t.Helper()
	p, err := platforms.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	p.OSVersion, p.OSFeatures = "", nil
	return p
}
