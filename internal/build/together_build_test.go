package build

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/worker"
)

// Only what differs in nothing but the platform is built together.
func TestTogether(t *testing.T) {
	t.Parallel()
	const three = "platforms = [\"linux/amd64\", \"linux/arm64\", \"linux/arm/v7\"]\ntags = [\"r.example/app:1\"]\n"
	for body, want := range map[string]string{
		``: "amd64+arm64+v7",
		`args = {A = "1"}` + "\n" + `secret = ["id=a,env=A"]`:              "amd64+arm64+v7",
		`platform "linux/arm64" { args = { A = "1" } }`:                    "amd64+v7 arm64",
		`platform "linux/arm64" { dockerfile = "Other" }`:                  "amd64+v7 arm64",
		`platform "linux/arm64" { context = "other" }`:                     "amd64+v7 arm64",
		`attest = ["type=provenance"]`:                                     "amd64 arm64 v7",
		`attest = ["type=provenance,disabled=true"]`:                       "amd64+arm64+v7",
		`cache-from = ["r.example/cache:1"]`:                               "amd64+arm64+v7",
		`cache-to = ["type=inline"]`:                                       "amd64+arm64+v7",
		`cache-to = ["type=registry,ref=r.example/cache:1"]`:               "amd64 arm64 v7",
		`annotations = ["manifest:a=b"]`:                                   "amd64+arm64+v7",
		`annotations = ["manifest[linux/arm64]:a=b"]`:                      "amd64+v7 arm64",
		"}\ntarget \"base\" {\n" + three:                                   "amd64+arm64+v7 amd64+arm64+v7",
		"contexts = { b = \"target:base\" }\n}\ntarget \"base\" {" + three: "amd64+arm64+v7 amd64 arm64 v7",
	} {
		hcl := "target \"app\" {\ncontext = \".\"\n" + three + body + "\n}\n"
		hcl = strings.Replace(hcl, "target \"base\" {\n"+three, "target \"base\" {\n"+strings.Replace(three, "app:1", "base:1", 1), 1)
		hcl = strings.Replace(hcl, "target \"base\" {"+three, "target \"base\" {\n"+strings.Replace(three, "app:1", "base:1", 1), 1)
		o := Options{Insecure: func(string) bool { return false }, LookupEnv: func(string) (string, bool) { return "", false }}
		var got []string
		for _, g := range Together(builds(t, hcl), o) {
			var names []string
			for _, b := range g {
				names = append(names, b.PlatformName()[strings.LastIndex(b.PlatformName(), "/")+1:])
			}
			got = append(got, strings.Join(names, "+"))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s", body, text, want)
		}
	}
}

// together builds all platforms of a target in one solve.
func (r *rig) together(hcl string) ([]*plan.Build, []Outcome) {
	r.t.Helper()
	d, err := NewDisplay(&r.output, ModePlain)
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.Close()
	o := r.options()
	o.Registry = registryClient(r.t, r.host)
	list := builds(r.t, hcl)
	if groups := Together(list, o); len(groups) != 1 {
		r.t.Fatalf("%d groups", len(groups))
	}
	return list, SolveAll(r.t.Context(), &worker.Worker{Name: "rack", Client: r.client, Host: platforms.DefaultSpec()}, list, nil, d, o)
}

const crossDockerfile = `FROM --platform=$BUILDPLATFORM scratch AS build
COPY busybox /busybox
SHELL ["/busybox", "sh", "-c"]
ARG TARGETARCH TARGETVARIANT
RUN /busybox test "$TARGETARCH" != "none" && echo "for $TARGETARCH" && echo $TARGETARCH >/made
FROM scratch
COPY --from=build /made /made
COPY file /file
ENV A=b
`

// What is built together is, platform by platform, what each would be alone.
func TestSolveAll(t *testing.T) {
	t.Parallel()
	r := newRig(t, withBusybox(t, files(t, map[string]string{"Dockerfile": crossDockerfile, "file": "x"})))
	epoch := time.Unix(1e9, 0)
	r.change = func(o *Options) { o.Epoch = &epoch }
	for name, body := range map[string]string{"OCI": "no-cache = true\n", "cached": "no-cache = false\n", "compressed": "output = [\"type=registry,compression=zstd\"]\nno-cache = true\n"} {
		t.Run(name, func(t *testing.T) {
			hcl := r.spec(body + "platforms = [\"linux/amd64\", \"linux/arm64\", \"linux/arm/v7\"]")
			list, got := r.together(hcl)
			for i, b := range list {
				if got[i].Err != nil {
					t.Fatalf("%s: %v\n%s", b.ID(), got[i].Err, r.output.String())
				}
				d, err := NewDisplay(&r.output, ModePlain)
				if err != nil {
					t.Fatal(err)
				}
				alone, err := r.run(t.Context(), b, nil, d)
				d.Close()
				if err != nil {
					t.Fatal(err)
				}
				// The single solve's descriptor has annotations besides.
				if got[i].Descriptor.Digest != alone.Descriptor.Digest || got[i].Descriptor.MediaType != alone.Descriptor.MediaType || got[i].Descriptor.Size != alone.Descriptor.Size {
					t.Errorf("%s: together %v, alone %v", b.ID(), got[i].Descriptor, alone.Descriptor)
				}
				if got[i].Inputs.Digest != alone.Inputs.Digest || len(got[i].Inputs.Unknown) != len(alone.Inputs.Unknown) || len(got[i].Changed) > 0 {
					t.Errorf("%s: inputs %v, changed %v", b.ID(), got[i].Inputs.Unknown, got[i].Changed)
				}
			}
		})
	}
}

// A platform that fails has its own error, and the others are built.
func TestSolveAllFails(t *testing.T) {
	t.Parallel()
	dir := withBusybox(t, files(t, map[string]string{"file": "x", "Dockerfile": strings.Replace(crossDockerfile, "none", "arm64", 1)}))
	r := newRig(t, dir)
	list, got := r.together(r.spec("platforms = [\"linux/amd64\", \"linux/arm64\", \"linux/arm/v7\"]"))
	for i, b := range list {
		var failed *Error
		switch {
		case b.PlatformName() != "linux/arm64":
			if got[i].Err != nil {
				t.Errorf("%s: %v", b.ID(), got[i].Err)
			} else if text := r.image(got[i].Result).file("made"); !strings.Contains(b.PlatformName(), strings.TrimSpace(text)) {
				t.Errorf("%s was made for %q", b.ID(), text)
			}
		case !errors.As(got[i].Err, &failed):
			t.Errorf("%s: %v", b.ID(), got[i].Err)
		case failed.Build != b.ID() || !strings.Contains(failed.Step, "RUN /busybox test") || !strings.Contains(failed.Err.Error(), "exit code: 1") || !strings.Contains(failed.Source, "Dockerfile:"):
			t.Errorf("%s: step %q, %v\n%s", failed.Build, failed.Step, failed.Err, failed.Source)
		}
	}

	// All of them, each for itself.
	write(t, dir, map[string]string{"Dockerfile": scratch + "RUN exit 3\n"})
	list, got = r.together(r.spec("platforms = [\"linux/amd64\", \"linux/386\"]"))
	for i, b := range list {
		var failed *Error
		if !errors.As(got[i].Err, &failed) || !strings.Contains(failed.Err.Error(), "exit code: 3") || failed.Step != "[3/3] RUN exit 3" && failed.Step != "[2/2] RUN exit 3" {
			t.Errorf("%s: %v", b.ID(), got[i].Err)
		}
	}

	// What cannot be read is no platform's image.
	write(t, dir, map[string]string{"Dockerfile": "FROM scratch\nCOPY file /\n"})
	if err := os.Remove(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	_, got = r.together(r.spec("platforms = [\"linux/amd64\", \"linux/386\"]"))
	if i := slices.IndexFunc(got, func(o Outcome) bool { return o.Err == nil }); i >= 0 {
		t.Errorf("%v was built without its file", got[i])
	}
}
