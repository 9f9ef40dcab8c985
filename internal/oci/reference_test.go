package oci

import (
	"errors"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

func TestParseReference(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ reason, suggestion string }{
		"ghcr.io/MyOrg/app:1":                       {"no capital letters", "ghcr.io/myorg/app:1"},
		"ghcr.io/MyOrg/App:RC1":                     {"no capital letters", "ghcr.io/myorg/app:RC1"},
		"registry.example//app:1":                   {"between two of its slashes", "registry.example/app:1"},
		"registry.example:5000///a//app:1":          {"between two of its slashes", "registry.example:5000/a/app:1"},
		"registry.example/app/:1":                   {"ends with a slash", "registry.example/app:1"},
		"registry.example/app/":                     {"ends with a slash", "registry.example/app"},
		"/app:1":                                    {"no registry before", ""},
		"https://registry.example/app:1":            {"no https:// before", "registry.example/app:1"},
		"docker://ghcr.io/o/app:1":                  {"no docker:// before", "ghcr.io/o/app:1"},
		"HTTP://Registry.example/Org//app:1":        {"no HTTP:// before", "Registry.example/org/app:1"},
		"registry.example/app:":                     {"behind its colon", ""},
		"app:":                                      {"behind its colon", ""},
		"app:feature/login":                         {`may not hold "/"`, "app:feature-login"},
		"ghcr.io/o/app:feature/login":               {`may not hold "/"`, "ghcr.io/o/app:feature-login"},
		"localhost:5000/app:1.0+build.7":            {`may not hold "+"`, "localhost:5000/app:1.0-build.7"},
		"[::1]:5000/app:feature/login":              {`may not hold "/"`, "[::1]:5000/app:feature-login"},
		"ghcr.io/o/my app:1":                        {`may not hold " "`, "ghcr.io/o/my-app:1"},
		" ghcr.io/o/app:1\n":                        {"a space", "ghcr.io/o/app:1"},
		"ghcr.io/o/app:.hidden":                     {"begins with a letter", "ghcr.io/o/app:hidden"},
		"ghcr.io/o/app:" + strings.Repeat("x", 129): {"at most 128 characters", ""},
		"":                        {"empty", ""},
		"ghcr.io/o/app@sha256:12": {"not allowed", ""},
		"ghcr.io/o/-app:1":        {"not allowed", ""},
	} {
		_, err := ParseReference(text)
		var e *ReferenceError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if !strings.Contains(e.Reason, want.reason) || e.Suggestion != want.suggestion {
			t.Errorf("%q: %s; %s; want %q, %q", text, e.Reason, e.Hint(), want.reason, want.suggestion)
		}
	}
	for _, text := range []string{"alpine", "ghcr.io/o/app:1", "NAS.lan:5000/app", "[::1]:5000/app:1", "localhost/app", "a/b__c/d.e-f:V_1.0"} {
		if _, err := ParseReference(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Whatever is given, what is suggested is a reference, and what Docker takes is
// taken.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"ghcr.io/MyOrg/app:1", "a//b:c/d", "https://x/y", "[::1]:5/a:", "a@sha256:", "A.b/C:d+e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, want := reference.ParseNormalizedNamed(text)
		_, err := ParseReference(text)
		var e *ReferenceError
		if (err == nil) != (want == nil) || err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %v, Docker: %v", text, err, want)
		}
		if e != nil && e.Suggestion != "" {
			if _, err := reference.ParseNormalizedNamed(e.Suggestion); err != nil {
				t.Errorf("%q: suggested %q: %v", text, e.Suggestion, err)
			}
		}
	})
}

func TestRegistryNames(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"NAS.lan:5000", "nas.lan:5000"}, {"docker.io", "index.docker.io"}, {"registry-1.docker.io", "docker.io"}} {
		if !SameRegistry(pair[0], pair[1]) {
			t.Errorf("%q", pair)
		}
	}
	for _, pair := range [][2]string{{"nas.lan:5000", "nas.lan:5001"}, {"nas.lan", "nas.lan:443"}, {"docker.io", "ghcr.io"}} {
		if SameRegistry(pair[0], pair[1]) {
			t.Errorf("%q", pair)
		}
	}
	for host, want := range map[string]bool{"[::1]:5000": true, "[fe80::1]": true, "127.0.0.1:5000": false, "localhost": false, "nas.lan:5": false} {
		if IPv6Registry(host) != want {
			t.Errorf("%s", host)
		}
	}
}
