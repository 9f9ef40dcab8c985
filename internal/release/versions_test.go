package release

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/ui"
)

// In whatever order versions of several lines are released, latest, 1 and 1.2
// end at the newest of theirs.
func TestVersionOrder(t *testing.T) {
	t.Parallel()
	host := registrytest.Serve(t)
	client, err := registry.New([]registry.Host{{Name: host, PlainHTTP: true}}, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	streams, _, _ := ui.Buffers(ui.Traits{})
	w, err := Open(t.TempDir(), streams, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for schedule := range 500 {
		r := rand.New(rand.NewPCG(1, uint64(schedule)))
		repository := fmt.Sprintf("%s/app%d", host, schedule)
		prefix := []string{"", "v"}[r.IntN(2)]
		want := map[string][3]int{} // the newest release of a tag
		digests := map[string]string{}
		for i := range 20 {
			v := [3]int{1 + r.IntN(2), r.IntN(3), r.IntN(12)} // six lines, and patches of two digits
			version := fmt.Sprintf("%s%d.%d.%d", prefix, v[0], v[1], v[2])
			if r.IntN(5) == 0 {
				version += "-rc." + strconv.Itoa(i)
			}
			floating := []string{fmt.Sprintf("%s%d.%d", prefix, v[0], v[1]), fmt.Sprintf("%s%d", prefix, v[0]), "latest"}
			target := &plan.Target{Name: "app", Image: true, Spec: &config.Target{Name: "app"}}
			for _, name := range append([]string{version}, floating...) {
				target.Tags = append(target.Tags, plan.Tag{Repository: repository, Name: name})
			}
			p := &plan.Plan{Targets: []*plan.Target{target}, Registries: []*config.Registry{{Host: host, Insecure: true}}, Release: config.Release{TagPolicy: "semver"}}
			if err := w.byVersion(t.Context(), p, client); err != nil {
				t.Fatal(err)
			}
			if len(target.Tags) < 4 {
				refused++
			}
			raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"version":%q}}`, ocispecs.MediaTypeImageIndex, version)
			// Tags of single platforms are in the way of no version.
			for _, tag := range append(target.Tags, plan.Tag{Repository: repository, Name: version + "-arm64"}) {
				if err := client.PutManifest(t.Context(), tag.String(), ocispecs.MediaTypeImageIndex, raw); err != nil {
					t.Fatal(err)
				}
				digests[tag.Name] = version
			}
			if strings.Contains(version, "-") {
				continue
			}
			for _, name := range floating {
				if old, ok := want[name]; !ok || slices.Compare(old[:], v[:]) < 0 {
					want[name] = v
				}
			}
		}
		for name, v := range want {
			_, raw, err := client.Manifest(t.Context(), repository+":"+name)
			if newest := fmt.Sprintf("%q:%q", "version", fmt.Sprintf("%s%d.%d.%d", prefix, v[0], v[1], v[2])); err != nil || !strings.Contains(string(raw), newest) {
				t.Fatalf("schedule %d: %s points to %s, want %s (%v)", schedule, name, raw, newest, err)
			}
		}
	}
	if refused < 1000 {
		t.Errorf("only %d of 10000 releases kept a tag where it was", refused)
	}
}

func TestOvertaken(t *testing.T) {
	t.Parallel()
	published := []string{"latest", "1.10.0", "1.9.9", "2.0.0-rc.1", "v1.2.3", "1.2.3-arm64", "20241231", "1.2"}
	for _, tt := range []struct{ tag, version, want string }{
		{"latest", "1.9.10", "v1.10.0"},
		{"latest", "1.11.0", ""},
		{"latest", "1.10.0", ""}, // again
		{"1", "1.2.4", "v1.10.0"},
		{"1.2", "1.2.4", ""},
		{"1.2", "1.2.2", "v1.2.3"},
		{"2", "2.0.0-rc.2", "v2.0.0-rc.2"},
		{"v1.9", "v1.9.1", "v1.9.9"},
		{"0", "0.1.0", ""},
	} {
		if got := overtaken(tt.tag, fullVersion(tt.version), published); got != tt.want {
			t.Errorf("%s of %s is overtaken by %q, want %q", tt.tag, tt.version, got, tt.want)
		}
	}
	for tag, want := range map[string]string{"1.2.3": "v1.2.3", "v1.2.3-rc.1": "v1.2.3-rc.1", "1.2": "", "latest": "", "1.02.3": "", "2024.1.31": "v2024.1.31"} {
		if got := fullVersion(tag); got != want {
			t.Errorf("%s is the version %q, want %q", tag, got, want)
		}
	}
}

// What a workflow is given is what the release printed, whatever names hold.
func TestGitHubOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	streams, _, _ := ui.Buffers(ui.Traits{})
	w, err := Open(dir, streams, []string{"GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary")})
	if err != nil {
		t.Fatal(err)
	}
	w.tellGitHub(&resultJSON{Release: "1", Targets: []resultTargetJSON{{
		Name: "app|x", Digest: "sha256:1", Tags: []string{"r/app:1", "r/app:latest"},
		Platforms: []resultPlatformJSON{{Platform: "linux/arm64", Digest: "sha256:2", Worker: "a|b", Reused: true, ProvenOn: []string{"pi"}}},
	}}})
	output, err := os.ReadFile(filepath.Join(dir, "output"))
	if err != nil || !strings.HasPrefix(string(output), "digest=sha256:1\ntags=r/app:1,r/app:latest\nrelease=1\njson={") || strings.Count(string(output), "\n") != 4 {
		t.Errorf("%v\n%s", err, output)
	}
	summary, err := os.ReadFile(filepath.Join(dir, "summary"))
	if err != nil || !strings.Contains(string(summary), "### app\\|x\n") || !strings.Contains(string(summary), "| linux/arm64 | `sha256:2` | a\\|b (reused) | pi |") {
		t.Errorf("%v\n%s", err, summary)
	}
}
