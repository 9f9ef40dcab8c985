package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// bakeBlocks is what hclparser fills.
type bakeBlocks struct {
	Groups  []*Group  `hcl:"group,block" cty:"group"`
	Targets []*Target `hcl:"target,block" cty:"target"`
}

// evaluate resolves variables, functions, matrices and references, by bake's
// own parser, and merges the targets of one name.
func (c *Config) evaluate(bodies []hcl.Body) hcl.Diagnostics {
	if len(bodies) == 0 {
		return nil
	}
	results, diags := c.parse(bodies)
	if diags.HasErrors() {
		// A reference sees only the last block of a target. Where that fails, it
		// shall see what all blocks of the name say together.
		if seen, ok := completed(bodies); ok {
			if again, d := c.parse(seen); !d.HasErrors() {
				results, diags = again, d
			}
		}
	}
	if diags.HasErrors() {
		return diags
	}
	renamed := map[string][]string{}
	for _, r := range results {
		for _, g := range r.blocks.Groups {
			c.addGroup(g)
		}
		for _, t := range r.blocks.Targets {
			c.addTarget(t)
		}
		for _, names := range r.meta.Renamed {
			for old, to := range names {
				renamed[old] = append(renamed[old], to...)
			}
		}
	}
	c.Variables = results[0].meta.AllVariables
	slices.SortFunc(c.Variables, func(a, b *hclparser.Variable) int { return strings.Compare(a.Name, b.Name) })
	// A matrix target's own name becomes a group of its results; a group
	// block of that name wins.
	for _, old := range slices.Sorted(maps.Keys(renamed)) {
		names := uniqueStrings(renamed[old])
		if (len(names) == 1 && names[0] == old) || c.group(old) != nil {
			continue
		}
		c.addGroup(&Group{Name: old, Targets: names})
	}
	for _, g := range c.Groups {
		seen := map[string]bool{}
		g.Targets = slices.DeleteFunc(slices.Clone(g.Targets), func(n string) bool {
			had := seen[n]
			seen[n] = true
			return had
		})
	}
	return diags
}

type parsed struct {
	blocks bakeBlocks
	meta   *hclparser.ParseMeta
}

// parse gives one result for each part of the bodies, in order.
func (c *Config) parse(bodies []hcl.Body) ([]parsed, hcl.Diagnostics) {
	var out []parsed
	var diags hcl.Diagnostics
	all := parts(bodies)
	for _, part := range all {
		var p parsed
		var d hcl.Diagnostics
		p.meta, d = hclparser.Parse(hclparser.MergeBodies(part), hclparser.Opt{
			LookupVar: c.variable,
			Vars: map[string]string{
				"BAKE_CMD_CONTEXT":    "cwd://",
				"BAKE_LOCAL_PLATFORM": platforms.Format(platforms.DefaultSpec()),
			},
			ValidateLabel: func(name string) error {
				if !targetName.MatchString(name) {
					return fmt.Errorf("the name %q has characters other than letters, digits, _ and -", name)
				}
				return nil
			},
		}, &p.blocks)
		diags = append(diags, d...)
		if p.meta != nil {
			out = append(out, p)
		}
		if len(all) > 1 && len(p.blocks.Targets) > 0 && p.blocks.Targets[0].base != nil {
			// Nothing refers to it; see parts.
			delete(p.blocks.Targets[0].base.Variables, "target")
		}
	}
	return out, diags
}

// variable looks a variable up in the environment, unless bake's own switch
// says that the environment is not asked.
func (c *Config) variable(name string) (string, bool) {
	switch v, _ := c.lookup("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"); strings.ToLower(v) {
	case "1", "t", "true":
		return "", false
	}
	return c.lookup(name)
}

// partSize is how many blocks are parsed at once.
const partSize = 32

// impure are the functions that give another value at every call.
var impure = []string{"timestamp", "uuidv4", "bcrypt"}

// parts splits the bodies so that each part holds some of the target blocks,
// in order, and all else. hclparser writes all targets seen so far into a new
// value after each, which takes time in the square of their number; that is for
// references between targets, so a file without any can be parsed in parts.
// What gives another value each time must be evaluated once.
func parts(bodies []hcl.Body) [][]hcl.Body {
	total := 0
	for _, b := range bodies {
		native, ok := b.(*hclsyntax.Body)
		if !ok {
			return [][]hcl.Body{bodies}
		}
		for _, block := range native.Blocks {
			if block.Type == "target" {
				total++
			}
		}
	}
	if total <= 2*partSize || refers(bodies) {
		return [][]hcl.Body{bodies}
	}
	var out [][]hcl.Body
	for first := 0; first < total; first += partSize {
		n := 0
		var part []hcl.Body
		for _, b := range bodies {
			native := b.(*hclsyntax.Body)
			copied := *native
			copied.Blocks = slices.DeleteFunc(slices.Clone(native.Blocks), func(block *hclsyntax.Block) bool {
				if block.Type != "target" {
					// Groups refer to nothing; one part has them.
					return block.Type == "group" && first > 0
				}
				n++
				return n <= first || n > first+partSize
			})
			part = append(part, &copied)
		}
		out = append(out, part)
	}
	return out
}

// refers reports whether an expression refers to a target or group, or gives
// another value each time it is evaluated.
func refers(bodies []hcl.Body) bool {
	found := false
	for _, b := range bodies {
		_ = hclsyntax.VisitAll(b.(*hclsyntax.Body), func(n hclsyntax.Node) hcl.Diagnostics {
			switch n := n.(type) {
			case *hclsyntax.ScopeTraversalExpr:
				root := n.Traversal.RootName()
				found = found || root == "target" || root == "group"
			case *hclsyntax.FunctionCallExpr:
				found = found || slices.Contains(impure, n.Name)
			}
			return nil
		})
	}
	return found
}

// appended are the attributes whose lists grow when blocks are merged, and
// overlaid those whose maps do.
var (
	appended = []string{"annotations", "attest", "cache-from", "secret", "ssh", "entitlements", "no-cache-filter", "ulimits", "policy"}
	overlaid = []string{"args", "labels", "contexts", "extra-hosts", "resources"}
)

// completed gives every block of a target what the blocks before it say and it
// does not, so that merging them changes nothing but what a reference sees. It
// reports whether any target stands in several blocks.
func completed(bodies []hcl.Body) ([]hcl.Body, bool) {
	seen := map[string]*hclsyntax.Block{}
	several := false
	var out []hcl.Body
	for _, b := range bodies {
		native, ok := b.(*hclsyntax.Body)
		if !ok {
			out = append(out, b)
			continue
		}
		copied := *native
		copied.Blocks = slices.Clone(native.Blocks)
		for i, block := range copied.Blocks {
			if block.Type != "target" || len(block.Labels) != 1 || block.Body.Attributes["matrix"] != nil {
				continue
			}
			if before := seen[block.Labels[0]]; before != nil {
				several = true
				block = complete(before, block)
				copied.Blocks[i] = block
			}
			seen[block.Labels[0]] = block
		}
		out = append(out, &copied)
	}
	return out, several
}

func complete(before, block *hclsyntax.Block) *hclsyntax.Block {
	body := *block.Body
	body.Attributes = maps.Clone(body.Attributes)
	for name, attr := range before.Body.Attributes {
		own := body.Attributes[name]
		function := ""
		switch {
		case name == "inherits":
			continue
		case own == nil:
			body.Attributes[name] = attr
			continue
		case slices.Contains(appended, name):
			function = "concat"
		case slices.Contains(overlaid, name):
			function = "merge"
		default:
			continue
		}
		both := *own
		both.Expr = &hclsyntax.FunctionCallExpr{
			Name: function, Args: []hclsyntax.Expression{attr.Expr, own.Expr}, NameRange: own.NameRange,
			OpenParenRange: own.Expr.StartRange(), CloseParenRange: own.Expr.Range(),
		}
		body.Attributes[name] = &both
	}
	out := *block
	out.Body = &body
	return &out
}
