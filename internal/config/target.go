package config

import (
	"fmt"
	"maps"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Target is a bake `target` block with what archmage adds to it. The field
// names and JSON are those of `docker buildx bake --print`; their meaning is in
// https://docs.docker.com/build/bake/reference/.
type Target struct {
	Name        string `json:"-" hcl:"name,label" cty:"name"`
	Description string `json:"description,omitempty" hcl:"description,optional" cty:"description"`

	Inherits         []string           `json:"inherits,omitempty" hcl:"inherits,optional" cty:"inherits"`
	Annotations      []string           `json:"annotations,omitempty" hcl:"annotations,optional" cty:"annotations"`
	Attest           Attests            `json:"attest,omitempty" hcl:"attest,optional" cty:"attest"`
	Context          *string            `json:"context,omitempty" hcl:"context,optional" cty:"context"`
	Contexts         map[string]string  `json:"contexts,omitempty" hcl:"contexts,optional" cty:"contexts"`
	Dockerfile       *string            `json:"dockerfile,omitempty" hcl:"dockerfile,optional" cty:"dockerfile"`
	DockerfileInline *string            `json:"dockerfile-inline,omitempty" hcl:"dockerfile-inline,optional" cty:"dockerfile-inline"`
	Args             map[string]*string `json:"args,omitempty" hcl:"args,optional" cty:"args"`
	Labels           map[string]*string `json:"labels,omitempty" hcl:"labels,optional" cty:"labels"`
	Tags             []string           `json:"tags,omitempty" hcl:"tags,optional" cty:"tags"`
	CacheFrom        Caches             `json:"cache-from,omitempty" hcl:"cache-from,optional" cty:"cache-from"`
	CacheTo          Caches             `json:"cache-to,omitempty" hcl:"cache-to,optional" cty:"cache-to"`
	Target           *string            `json:"target,omitempty" hcl:"target,optional" cty:"target"`
	Secrets          Secrets            `json:"secret,omitempty" hcl:"secret,optional" cty:"secret"`
	SSH              SSH                `json:"ssh,omitempty" hcl:"ssh,optional" cty:"ssh"`
	Platforms        []string           `json:"platforms,omitempty" hcl:"platforms,optional" cty:"platforms"`
	Outputs          Outputs            `json:"output,omitempty" hcl:"output,optional" cty:"output"`
	Pull             *bool              `json:"pull,omitempty" hcl:"pull,optional" cty:"pull"`
	NoCache          *bool              `json:"no-cache,omitempty" hcl:"no-cache,optional" cty:"no-cache"`
	Network          *string            `json:"network,omitempty" hcl:"network,optional" cty:"network"`
	NoCacheFilter    []string           `json:"no-cache-filter,omitempty" hcl:"no-cache-filter,optional" cty:"no-cache-filter"`
	ShmSize          *string            `json:"shm-size,omitempty" hcl:"shm-size,optional" cty:"shm-size"`
	Ulimits          []string           `json:"ulimits,omitempty" hcl:"ulimits,optional" cty:"ulimits"`
	Resources        Resources          `json:"resources,omitzero" hcl:"resources,optional" cty:"resources"`
	Call             *string            `json:"call,omitempty" hcl:"call,optional" cty:"call"`
	Entitlements     []string           `json:"entitlements,omitempty" hcl:"entitlements,optional" cty:"entitlements"`
	ExtraHosts       map[string]*string `json:"extra-hosts,omitempty" hcl:"extra-hosts,optional" cty:"extra-hosts"`
	Policy           Policies           `json:"policy,omitempty" hcl:"policy,optional" cty:"policy"`

	// Sources are images that others pushed, of which the index is made; a
	// target with sources is not built.
	Sources []string `json:"sources,omitempty" hcl:"sources,optional" cty:"sources"`
	// Index is "always" for an index in any case. Without it a single image
	// without attestations is published as it is, as bake does.
	Index *string `json:"index,omitempty" hcl:"index,optional" cty:"index"`

	// Overrides are the `platform` blocks, Prepare and Smokes ours too.
	Overrides []*PlatformOverride `json:"-"`
	Prepare   *Prepare            `json:"-"`
	Smokes    []*Smoke            `json:"-"`
	Audit     *Audit              `json:"-"`

	sources []source
	scope   scope
	base    *hcl.EvalContext
}

// source is one block that contributes to a target, with what its expressions
// are evaluated in.
type source struct {
	block *hcl.Block
	scope scope
}

// scope evaluates expressions where hclparser left off: load resolves what an
// expression refers to, then ctx holds it.
type scope struct {
	ctx  *hcl.EvalContext
	load func(hcl.Expression) hcl.Diagnostics
}

var targetName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// GetEvalContexts expands `matrix` into one context per combination.
// It is called by hclparser.
func (t *Target) GetEvalContexts(base *hcl.EvalContext, block *hcl.Block, load func(hcl.Expression) hcl.Diagnostics) ([]*hcl.EvalContext, error) {
	attr := blockAttr(block.Body, "matrix")
	if attr == nil {
		return []*hcl.EvalContext{base}, nil
	}
	if diags := load(attr.Expr); diags.HasErrors() {
		return nil, diags
	}
	value, diags := attr.Expr.Value(base)
	if diags.HasErrors() {
		return nil, diags
	}
	if !value.Type().IsMapType() && !value.Type().IsObjectType() {
		return nil, attrError(attr, "Invalid matrix", "A matrix is a map of lists, such as { item = [\"a\", \"b\"] }.")
	}
	ctxs := []*hcl.EvalContext{base}
	for it := value.ElementIterator(); it.Next(); {
		k, list := it.Element()
		if !list.CanIterateElements() {
			return nil, attrError(attr, "Invalid matrix", fmt.Sprintf("The matrix value %q is not a list.", k.AsString()))
		}
		var next []*hcl.EvalContext
		for _, v := range list.AsValueSlice() {
			for _, c := range ctxs {
				child := base.NewChild()
				child.Variables = map[string]cty.Value{}
				if c != base {
					maps.Copy(child.Variables, c.Variables)
				}
				child.Variables[k.AsString()] = v
				next = append(next, child)
			}
		}
		ctxs = next
	}
	return ctxs, nil
}

// GetName evaluates `name`, which a matrix needs to tell its results apart.
// It is called by hclparser, once for each result.
func (t *Target) GetName(ctx *hcl.EvalContext, block *hcl.Block, load func(hcl.Expression) hcl.Diagnostics) (string, error) {
	t.scope = scope{ctx: ctx, load: load}
	attr := blockAttr(block.Body, "name")
	if attr == nil {
		return block.Labels[0], nil
	}
	if blockAttr(block.Body, "matrix") == nil {
		return "", attrError(attr, "Name without matrix", "The attribute name is for targets with a matrix; without one, the block's label is the name.")
	}
	if diags := load(attr.Expr); diags.HasErrors() {
		return "", diags
	}
	v, diags := attr.Expr.Value(ctx)
	if diags.HasErrors() {
		return "", diags
	}
	v, err := convert.Convert(v, cty.String)
	if err != nil || v.IsNull() {
		return "", attrError(attr, "Invalid name", "The name of a target is a string.")
	}
	return v.AsString(), nil
}

// SetBlockSource remembers where the target stands. It is called by hclparser
// before targets of one name are merged.
func (t *Target) SetBlockSource(block *hcl.Block) {
	t.sources = []source{{block: block, scope: t.scope}}
	t.base = t.scope.ctx
	if blockAttr(block.Body, "matrix") != nil {
		t.base = t.scope.ctx.Parent()
	}
}

// Merge lays o over t, as bake merges files and inherited targets: scalars,
// tags, platforms, cache-to and output are replaced, maps and lists grow.
// It is called by hclparser for targets of one name.
func (t *Target) Merge(o *Target) {
	replace(&t.Context, o.Context)
	replace(&t.Dockerfile, o.Dockerfile)
	replace(&t.DockerfileInline, o.DockerfileInline)
	replace(&t.Target, o.Target)
	replace(&t.Call, o.Call)
	replace(&t.Pull, o.Pull)
	replace(&t.NoCache, o.NoCache)
	replace(&t.Network, o.Network)
	replace(&t.ShmSize, o.ShmSize)
	replace(&t.Index, o.Index)
	if o.Description != "" {
		t.Description = o.Description
	}
	if o.Tags != nil {
		t.Tags = o.Tags
	}
	if o.Platforms != nil {
		t.Platforms = o.Platforms
	}
	if o.Sources != nil {
		t.Sources = o.Sources
	}
	if o.CacheTo != nil {
		t.CacheTo = o.CacheTo
	}
	if o.Outputs != nil {
		t.Outputs = o.Outputs
	}
	t.Args = overlay(t.Args, o.Args)
	t.Labels = overlay(t.Labels, o.Labels)
	t.ExtraHosts = overlay(t.ExtraHosts, o.ExtraHosts)
	t.Contexts = merged(t.Contexts, o.Contexts)
	if o.Resources != nil {
		t.Resources = merged(merged(Resources{}, t.Resources), o.Resources)
	}
	t.Annotations = append(t.Annotations[:len(t.Annotations):len(t.Annotations)], o.Annotations...)
	t.NoCacheFilter = append(t.NoCacheFilter[:len(t.NoCacheFilter):len(t.NoCacheFilter)], o.NoCacheFilter...)
	t.Ulimits = append(t.Ulimits[:len(t.Ulimits):len(t.Ulimits)], o.Ulimits...)
	t.Entitlements = append(t.Entitlements[:len(t.Entitlements):len(t.Entitlements)], o.Entitlements...)
	t.Inherits = append(t.Inherits[:len(t.Inherits):len(t.Inherits)], o.Inherits...)
	t.Attest = append(t.Attest[:len(t.Attest):len(t.Attest)], o.Attest...)
	if o.CacheFrom != nil {
		t.CacheFrom = distinct(append(t.CacheFrom[:len(t.CacheFrom):len(t.CacheFrom)], o.CacheFrom...))
	}
	t.Secrets = append(t.Secrets[:len(t.Secrets):len(t.Secrets)], o.Secrets...)
	t.SSH = append(t.SSH[:len(t.SSH):len(t.SSH)], o.SSH...)
	t.Policy = append(t.Policy[:len(t.Policy):len(t.Policy)], o.Policy...)

	t.Overrides = mergeOverrides(t.Overrides, o.Overrides)
	if o.Prepare != nil {
		t.Prepare = o.Prepare
	}
	if o.Smokes != nil {
		t.Smokes = o.Smokes
	}
	t.Audit = t.Audit.Merge(o.Audit)
	t.sources = append(t.sources[:len(t.sources):len(t.sources)], o.sources...)
	if t.base == nil {
		t.base = o.base
	}
}

func (t *Target) normalize() {
	t.Attest = byKey(t.Attest, "type")
	t.CacheFrom = distinct(t.CacheFrom)
	t.CacheTo = distinct(t.CacheTo)
	t.Outputs = distinct(t.Outputs)
	t.Secrets = byKey(t.Secrets, "id")
	t.SSH = byKey(t.SSH, "id")
	t.Annotations = uniqueStrings(t.Annotations)
	t.Tags = uniqueStrings(t.Tags)
	t.Platforms = uniqueStrings(t.Platforms)
	t.Sources = uniqueStrings(t.Sources)
	t.NoCacheFilter = uniqueStrings(t.NoCacheFilter)
	t.Ulimits = uniqueStrings(t.Ulimits)
	if t.Network != nil && *t.Network == "host" {
		t.Entitlements = append(t.Entitlements, "network.host")
	}
	t.Entitlements = uniqueStrings(t.Entitlements)
	t.Contexts = maps.Clone(t.Contexts)
	maps.DeleteFunc(t.Contexts, func(_, v string) bool { return v == "" })
	if len(t.Contexts) == 0 {
		t.Contexts = nil
	}
}

func replace[T any](dst **T, src *T) {
	if src != nil {
		*dst = src
	}
}

// overlay copies what is set; null unsets nothing, as in bake.
func overlay(dst, src map[string]*string) map[string]*string {
	if len(src) == 0 {
		return dst
	}
	out := maps.Clone(dst)
	for k, v := range src {
		if v == nil {
			continue
		}
		if out == nil {
			out = map[string]*string{}
		}
		out[k] = v
	}
	return out
}

func merged[M ~map[string]string](dst, src M) M {
	if len(src) == 0 {
		return dst
	}
	out := maps.Clone(dst)
	if out == nil {
		out = M{}
	}
	maps.Copy(out, src)
	return out
}

// uniqueStrings drops empty and repeated strings, keeping the order.
func uniqueStrings(in []string) []string {
	seen := map[string]bool{"": true}
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
