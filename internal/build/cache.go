package build

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// The types of https://github.com/moby/buildkit#export-cache, and those of them
// that are read back by their own name, with the key that each needs.
var (
	exporters = map[string]string{"inline": "", "registry": "ref", "local": "dest", "gha": "", "s3": "bucket", "azblob": ""}
	importers = map[string]string{"registry": "ref", "local": "src", "gha": "", "s3": "bucket", "azblob": ""}
)

// known refuses what BuildKit would pass over or refuse late.
func known(e config.Entry, types map[string]string) error {
	key, ok := types[e["type"]]
	if !ok {
		return fmt.Errorf("%s: the type is none of %s", e, strings.Join(slices.Sorted(maps.Keys(types)), ", "))
	}
	if key != "" && e[key] == "" {
		return fmt.Errorf("%s: %s is missing", e, key)
	}
	return nil
}

// caches gives every platform a cache of its own: with one reference for all,
// the last platform overwrites the others (buildx#1044). A cache-from that is
// one of the target's own cache-to follows it.
func caches(b *plan.Build, o Options) (from, to []client.CacheOptionsEntry, err error) {
	var own []string
	for _, e := range b.Spec.CacheTo {
		if err := known(e, exporters); err != nil {
			return nil, nil, fmt.Errorf("cache-to %w", err)
		}
		own = append(own, place(e))
		to = append(to, entry(perPlatform(e, b), o))
	}
	for _, e := range b.Spec.CacheFrom {
		if err := known(e, importers); err != nil {
			return nil, nil, fmt.Errorf("cache-from %w", err)
		}
		if slices.Contains(own, place(e)) {
			e = perPlatform(e, b)
		}
		c := entry(e, o)
		// A first release has no cache yet; BuildKit's client would say so past
		// the display.
		if _, err := os.Stat(filepath.Join(c.Attrs["src"], "index.json")); c.Type == "local" && errors.Is(err, os.ErrNotExist) {
			continue
		}
		from = append(from, c)
	}
	return from, to, nil
}

// place names where a cache lies, whichever direction the entry has.
func place(e config.Entry) string {
	for _, k := range []string{"ref", "dest", "src", "scope", "name"} {
		if e[k] != "" {
			return e["type"] + " " + e[k]
		}
	}
	return e["type"]
}

func perPlatform(e config.Entry, b *plan.Build) config.Entry {
	slug := strings.ReplaceAll(b.PlatformName(), "/", "-")
	out := maps.Clone(e)
	switch e["type"] {
	case "registry":
		name, digest, _ := strings.Cut(e["ref"], "@")
		if digest != "" {
			return out
		}
		if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
			out["ref"] = name + "-" + slug
		} else {
			out["ref"] = name + ":" + slug
		}
	case "local":
		for _, k := range []string{"src", "dest"} {
			if e[k] != "" {
				out[k] = filepath.Join(e[k], slug)
			}
		}
	case "gha":
		scope := e["scope"]
		if scope == "" {
			scope = "buildkit"
		}
		out["scope"] = scope + "-" + slug
	case "s3", "azblob":
		name := e["name"]
		if name == "" {
			name = "buildkit"
		}
		out["name"] = name + "-" + slug
	}
	return out
}

// entry adds what the workstation's environment holds for the cache service,
// as buildx does.
func entry(e config.Entry, o Options) client.CacheOptionsEntry {
	a := withoutKeys(e, "type")
	add := func(key, env string) {
		if v, ok := o.LookupEnv(env); ok && a[key] == "" {
			a[key] = v
		}
	}
	switch e["type"] {
	case "gha":
		add("token", "ACTIONS_RUNTIME_TOKEN")
		add("url", "ACTIONS_CACHE_URL")
		add("url_v2", "ACTIONS_RESULTS_URL")
	case "local":
		for _, k := range []string{"src", "dest"} {
			if a[k] != "" {
				a[k] = absolute(o.Dir, a[k])
			}
		}
	case "s3":
		add("access_key_id", "AWS_ACCESS_KEY_ID")
		add("secret_access_key", "AWS_SECRET_ACCESS_KEY")
		add("session_token", "AWS_SESSION_TOKEN")
	}
	if e["type"] == "registry" && a["ref"] != "" && o.Insecure(plan.Host(a["ref"])) {
		a["registry.insecure"] = "true"
	}
	return client.CacheOptionsEntry{Type: e["type"], Attrs: a}
}
