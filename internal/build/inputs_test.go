package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// heads answers for the digest of references; it is a registry only for that.
type heads struct {
	Registry
	known map[string]string
}

func (h heads) Head(_ context.Context, ref string) (ocispecs.Descriptor, error) {
	if v, ok := h.known[ref]; ok {
		return ocispecs.Descriptor{Digest: digest.FromString(v)}, nil
	}
	return ocispecs.Descriptor{}, errors.New("not here")
}

func inputsBuild(t *testing.T, dir string, change func(*config.Target)) *plan.Build {
	t.Helper()
	context, dockerfile := dir, "Dockerfile"
	s := &config.Target{Name: "app", Context: &context, Dockerfile: &dockerfile}
	if change != nil {
		change(s)
	}
	p, err := config.ParsePlatform("linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	return &plan.Build{Target: &plan.Target{Name: "app", Spec: s}, Spec: s, Platform: p, Repository: "r.example/app"}
}

func TestReadInputs(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{
		"Dockerfile":    "ARG V=3\nFROM alpine:${V} AS a\nCOPY --from=tools:1 /x /x\nFROM a\nCOPY src /src\n",
		"src/main.go":   "package main",
		".dockerignore": "ignored\n",
		"ignored":       "1",
		"beside":        "1",
	})
	reg := heads{known: map[string]string{"alpine:3": "one", "tools:1": "two"}}
	read := func(change func(*config.Target), o Options) Inputs {
		t.Helper()
		o.Registry = reg
		in, err := ReadInputs(t.Context(), inputsBuild(t, dir, change), nil, o)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	first := read(nil, Options{})
	if !first.Whole {
		t.Error("everything can be seen, but the fingerprint is not whole")
	}
	same := func(name string, in Inputs) {
		t.Helper()
		if in.Digest != first.Digest {
			t.Errorf("%s changed the fingerprint", name)
		}
	}
	other := func(name string, in Inputs) {
		t.Helper()
		if in.Digest == first.Digest {
			t.Errorf("%s did not change the fingerprint", name)
		}
	}
	same("nothing", read(nil, Options{}))
	write(t, dir, map[string]string{"ignored": "2"})
	same("an ignored file", read(nil, Options{}))
	write(t, dir, map[string]string{"beside": "2"})
	same("a file that no COPY names", read(nil, Options{}))
	same("a tag", read(func(s *config.Target) { s.Tags = []string{"x"} }, Options{}))
	if err := os.Chtimes(filepath.Join(dir, "src/main.go"), time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	same("a file's time", read(nil, Options{}))

	epoch := time.Unix(1, 0)
	other("the epoch", read(nil, Options{Epoch: &epoch}))
	value := "4"
	other("an argument", read(func(s *config.Target) { s.Args = map[string]*string{"X": &value} }, Options{}))
	other("attestations", read(nil, Options{Strip: true}))
	reg.known["alpine:3"] = "moved"
	other("a moved base image", read(nil, Options{}))
	reg.known["alpine:3"] = "one"
	if err := os.Chmod(filepath.Join(dir, "src/main.go"), 0o755); err != nil {
		t.Fatal(err)
	}
	other("a file's mode", read(nil, Options{}))
	if err := os.Chmod(filepath.Join(dir, "src/main.go"), 0o644); err != nil {
		t.Fatal(err)
	}
	same("the mode put back", read(nil, Options{}))
	write(t, dir, map[string]string{"src/main.go": "package other"})
	other("a file", read(nil, Options{}))
	write(t, dir, map[string]string{"src/main.go": "package main", "src/new": ""})
	other("a new file", read(nil, Options{}))

	yes := true
	for name, in := range map[string]Inputs{
		"no-cache":       read(func(s *config.Target) { s.NoCache = &yes }, Options{}),
		"an unseen base": read(func(s *config.Target) { s.Args = map[string]*string{"V": &value} }, Options{}),
		"a remote context": read(func(s *config.Target) {
			c := "https://example.com/x.git"
			s.Context = &c
		}, Options{}),
	} {
		if in.Whole {
			t.Errorf("%s: the fingerprint is said to cover everything", name)
		}
	}
}
