package build

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/client"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// prune empties the daemon's cache.
func (r *rig) prune() {
	r.t.Helper()
	if err := r.client.Prune(r.t.Context(), nil, client.PruneAll); err != nil {
		r.t.Fatal(err)
	}
	usage, err := r.client.DiskUsage(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, u := range usage {
		if !u.InUse {
			r.t.Fatalf("%+v is left after a prune", u)
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	dir := withBusybox(t, files(t, map[string]string{"Dockerfile": scratch + `
ARG TARGETARCH
RUN /busybox cat /proc/sys/kernel/random/uuid > /$TARGETARCH
`}))
	r := rigOn(t, embeddedtest.NewWorker(t).Address, dir)
	registry := r.host + "/cache/" + strings.ToLower(rand.Text())
	for kind, attrs := range map[string]string{
		"registry": `
			cache-to   = ["type=registry,mode=max,ref=` + registry + `:main"]
			cache-from = ["` + registry + `:main"]`,
		"registry without a tag": `
			cache-to   = ["type=registry,mode=max,ref=` + registry + `"]
			cache-from = ["type=registry,ref=` + registry + `"]`,
		"local": `
			cache-to   = ["type=local,mode=max,dest=cache"]
			cache-from = ["type=local,src=cache"]`,
	} {
		hcl := r.spec(attrs + "\n" + `platforms = ["linux/amd64", "linux/arm64"]`)
		r.prune()
		first := r.all(hcl)
		// The copy is the same for both platforms, the step is not.
		if first.result.Cached != 1 || first.result.Steps != 2 {
			t.Errorf("%s: %d steps, %d of them from an empty cache", kind, first.result.Steps, first.result.Cached)
		}
		r.prune()
		again := r.all(hcl)
		if again.result.Cached != again.result.Steps || again.result.Steps != 2 {
			t.Errorf("%s: %d of %d steps from the cache after a prune\n%s", kind, again.result.Cached, again.result.Steps, r.output.String())
		}
		if first.file("arm64") != again.file("arm64") {
			t.Errorf("%s: the step ran again", kind)
		}
		// Both platforms come from caches of their own.
		if got := strings.Count(r.output.String(), " CACHED"); got != 4 {
			t.Errorf("%s: %d steps of both platforms from the cache, want 4\n%s", kind, got, r.output.String())
		}
	}
	for _, ref := range []string{registry + ":main-linux-amd64", registry + ":main-linux-arm64", registry + ":linux-amd64", registry + ":linux-arm64"} {
		tag, err := name.NewTag(ref, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ggcr.Head(tag); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, platform := range []string{"linux-amd64", "linux-arm64"} {
		if _, err := os.Stat(filepath.Join(dir, "cache", platform, "index.json")); err != nil {
			t.Error(err)
		}
	}
}

func TestCacheInline(t *testing.T) {
	t.Parallel()
	dir := withBusybox(t, files(t, map[string]string{"Dockerfile": scratch + "RUN /busybox cat /proc/sys/kernel/random/uuid > /id\n"}))
	r := rigOn(t, embeddedtest.NewWorker(t).Address, dir)
	first := r.build(`cache-to = ["type=inline"]`)
	r.prune()
	again := r.build("cache-from = [\"type=registry,ref=" + first.ref + "\"]")
	if again.file("id") != first.file("id") || again.result.Cached == 0 {
		t.Errorf("%d of %d steps from the cache in the image\n%s", again.result.Cached, again.result.Steps, r.output.String())
	}
}

func TestCachePlaces(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"there/index.json": "{}", "own/linux-arm-v6/index.json": "{}"})
	o := Options{
		Dir: dir,
		LookupEnv: func(k string) (string, bool) {
			v, ok := map[string]string{"ACTIONS_RUNTIME_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "key"}[k]
			return v, ok
		},
		Insecure: func(host string) bool { return host == "plain:5000" },
	}
	type entries = []client.CacheOptionsEntry
	one := func(typ string, attrs ...string) entries {
		m := map[string]string{}
		for i := 0; i < len(attrs); i += 2 {
			m[attrs[i]] = attrs[i+1]
		}
		return entries{{Type: typ, Attrs: m}}
	}
	for body, want := range map[string]struct{ from, to entries }{
		`cache-to = ["type=registry,ref=plain:5000/a"]`:           {to: one("registry", "ref", "plain:5000/a:linux-arm-v6", "registry.insecure", "true")},
		`cache-to = ["type=registry,ref=r.example/a:b,mode=max"]`: {to: one("registry", "ref", "r.example/a:b-linux-arm-v6", "mode", "max")},
		// Somebody else's cache is read as it is, one's own where it was written.
		`cache-from = ["r.example/a:b"]`: {from: one("registry", "ref", "r.example/a:b")},
		"cache-from = [\"r.example/a:b\"]\ncache-to = [\"r.example/a:b\"]": {
			from: one("registry", "ref", "r.example/a:b-linux-arm-v6"), to: one("registry", "ref", "r.example/a:b-linux-arm-v6"),
		},
		`cache-from = ["type=local,src=there"]`:     {from: one("local", "src", dir+"/there")},
		`cache-from = ["type=local,src=not-there"]`: {},
		"cache-from = [\"type=local,src=own\"]\ncache-to = [\"type=local,dest=own\"]": {
			from: one("local", "src", dir+"/own/linux-arm-v6"), to: one("local", "dest", dir+"/own/linux-arm-v6"),
		},
		`cache-to = ["type=gha,scope=x"]`:                 {to: one("gha", "scope", "x-linux-arm-v6", "token", "secret")},
		`cache-to = ["type=gha"]`:                         {to: one("gha", "scope", "buildkit-linux-arm-v6", "token", "secret")},
		`cache-to = ["type=s3,bucket=b,region=r,name=n"]`: {to: one("s3", "bucket", "b", "region", "r", "name", "n-linux-arm-v6", "secret_access_key", "key")},
		`cache-to = ["type=azblob,account_url=u"]`:        {to: one("azblob", "account_url", "u", "name", "buildkit-linux-arm-v6")},
		`cache-to = ["type=inline"]`:                      {to: one("inline")},
	} {
		b := builds(t, "target \"a\" {\nplatforms = [\"linux/arm/v6\"]\ntags = [\"r.example/a:1\"]\n"+body+"\n}")[0]
		from, to, err := caches(b, o)
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want.from, from); diff != "" {
			t.Errorf("%s: from: %s", body, diff)
		}
		if diff := cmp.Diff(want.to, to); diff != "" {
			t.Errorf("%s: to: %s", body, diff)
		}
	}
	if got := place(config.Entry{"type": "inline"}); got != "inline" {
		t.Errorf("%q", got)
	}
}
