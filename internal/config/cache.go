package config

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// DropInactiveCaches takes away the caches of GitHub Actions where no job has
// given a token for them, as buildx does, and says so.
func (c *Config) DropInactiveCaches(t *Target) hcl.Diagnostics {
	set := func(name string) bool { v, _ := c.lookup(name); return v != "" }
	inactive := func(e Entry) bool {
		return e["type"] == "gha" && !((e["token"] != "" || set("ACTIONS_RUNTIME_TOKEN")) &&
			(e["url"] != "" || e["url_v2"] != "" || set("ACTIONS_CACHE_URL") || set("ACTIONS_RESULTS_URL")))
	}
	var diags hcl.Diagnostics
	for _, l := range []struct {
		attr string
		list *Caches
	}{{"cache-from", &t.CacheFrom}, {"cache-to", &t.CacheTo}} {
		if !slices.ContainsFunc(*l.list, inactive) {
			continue
		}
		*l.list = slices.DeleteFunc(slices.Clone(*l.list), inactive)
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagWarning, Summary: "Cache passed over", Subject: t.Where(l.attr, ""),
			Detail: fmt.Sprintf("Target %q is built without the %s of type=gha: ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL, which a job of GitHub Actions has, are not set.", t.Name, l.attr),
		})
	}
	return diags
}
