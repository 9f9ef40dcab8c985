package release

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// InspectOptions say what to look at.
type InspectOptions struct {
	Selection
	// Ref is any image; empty means what targets.hcl says.
	Ref string
	// Draft looks at the drafts even where they have been published.
	Draft bool
	JSON  bool
}

// AuditError says what is wrong with images that were read.
type AuditError struct{ Findings []string }

func (e *AuditError) Error() string { return strings.Join(e.Findings, "\n") }

// Remedy is what to do next.
func (e *AuditError) Remedy() string {
	return "no tag was moved by this; mend what is named and run `mage release` again"
}

// Inspect shows the tree of an image: of any reference, of the drafts that are
// not published yet, or of what is published.
func (w *Workspace) Inspect(ctx context.Context, o InspectOptions) error {
	if o.Ref != "" {
		return w.inspectRef(ctx, o)
	}
	p, err := w.loadPublishable(o.Selection)
	if err != nil {
		return err
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	trees, err := w.trees(ctx, p, client, o.Draft || w.pending())
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.JSON {
		if err := w.writeJSON(trees); err != nil {
			return err
		}
	} else if err := w.showTrees(trees); err != nil {
		return err
	}
	return findings(p, trees)
}

// inspectRef needs no targets.hcl, but honours the registries of one.
func (w *Workspace) inspectRef(ctx context.Context, o InspectOptions) error {
	if _, err := registry.Repository(o.Ref); err != nil {
		return usage("Invalid -ref", err)
	}
	p := &plan.Plan{}
	if c, diags := config.Load(config.Options{Dir: w.Dir, LookupEnv: w.LookupEnv}); !diags.HasErrors() {
		p.Registries = c.Registries
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	tree, err := audit.Read(ctx, audit.Registry(client), o.Ref)
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.JSON {
		err = w.writeJSON(tree)
	} else {
		err = w.showTrees([]*audit.Tree{tree})
	}
	if err != nil {
		return err
	}
	return findings(nil, []*audit.Tree{tree})
}

// pending says whether the newest record has drafts that no tag names yet.
func (w *Workspace) pending() bool {
	r, err := w.latest()
	return err == nil && r.reached(Assembled) && !r.reached(Promoted)
}

func (w *Workspace) trees(ctx context.Context, p *plan.Plan, client *registry.Client, draft bool) ([]*audit.Tree, error) {
	source := audit.Registry(client)
	if draft {
		source = audit.Layout(w.layout())
	}
	var out []*audit.Tree
	for _, t := range p.Published() {
		refs := []string{t.Name}
		if !draft {
			refs = refs[:0]
			for _, tag := range t.Tags {
				refs = append(refs, tag.String())
			}
		}
		for _, ref := range refs {
			tree, err := audit.Read(ctx, source, ref)
			if err != nil {
				return nil, err
			}
			out = append(out, tree)
		}
	}
	return out, nil
}

// inspectDrafts is the inspection inside a release: nothing goes up that has
// a finding.
func (w *Workspace) inspectDrafts(ctx context.Context, p *plan.Plan) error {
	trees, err := w.trees(ctx, p, nil, true)
	if err != nil {
		return interrupted(ctx, err)
	}
	return findings(p, trees)
}

// findings compares the trees with the matrix. With no plan there is nothing
// to compare with, and only what cannot be read is found.
func findings(p *plan.Plan, trees []*audit.Tree) error {
	var out []string
	for _, tree := range trees {
		walk(&tree.Node, func(n *audit.Node) {
			if n.Problem != "" {
				out = append(out, fmt.Sprintf("%s, %s: %s", tree.Reference, n.Name, n.Problem))
			}
		})
		if p == nil {
			continue
		}
		want := wanted(p, tree.Reference)
		var have []string
		for _, n := range tree.Images() {
			have = append(have, n.Platform)
		}
		for _, name := range want {
			if !slices.Contains(have, name) {
				out = append(out, fmt.Sprintf("%s: the platform %s is missing", tree.Reference, name))
			}
		}
		for _, name := range have {
			if !slices.Contains(want, name) {
				out = append(out, fmt.Sprintf("%s: the platform %s is not in targets.hcl", tree.Reference, name))
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return &AuditError{Findings: out}
}

// wanted are the platforms that the target of a draft or tag shall have.
func wanted(p *plan.Plan, reference string) []string {
	var out []string
	for _, t := range p.Published() {
		if t.Name != reference && !slices.ContainsFunc(t.Tags, func(tag plan.Tag) bool { return tag.String() == reference }) {
			continue
		}
		for _, b := range t.Builds {
			if !b.Optional {
				out = append(out, b.PlatformName())
			}
		}
	}
	return out
}

func walk(n *audit.Node, f func(*audit.Node)) {
	f(n)
	for i := range n.Children {
		walk(&n.Children[i], f)
	}
}

func (w *Workspace) showTrees(trees []*audit.Tree) error {
	out := w.Streams.Out
	shown := map[string]bool{}
	for _, tree := range trees {
		if shown[tree.Digest.String()] {
			continue
		}
		if len(shown) > 0 {
			fmt.Fprintln(out)
		}
		shown[tree.Digest.String()] = true
		for _, same := range trees {
			if same.Digest == tree.Digest {
				fmt.Fprintf(out, "%s\n", out.Bold(same.Reference))
			}
		}
		fmt.Fprintf(out, "%s %s  %s\n", tree.Kind, tree.Digest, out.Faint(tree.MediaType))
		rows := tree.Children
		if tree.Kind != audit.KindIndex {
			rows = []audit.Node{tree.Node}
		} else {
			showAnnotations(out, tree.Annotations, "")
		}
		table := ui.NewTable(ui.Column{Title: "PLATFORM"}, ui.Column{Title: "DIGEST"}, ui.Column{Title: "SIZE", Right: true},
			ui.Column{Title: "LAYERS", Right: true}, ui.Column{Title: "CREATED"}, ui.Column{Title: "COMMAND"})
		addRows(table, out.Palette, rows, "")
		if err := table.Write(out); err != nil {
			return err
		}
		showImageAnnotations(out, tree)
	}
	return nil
}

// showImageAnnotations names each annotation of the images once, with the
// platforms that have it.
func showImageAnnotations(out *ui.Stream, tree *audit.Tree) {
	type note struct{ key, value string }
	var order []note
	has := map[note][]string{}
	images := tree.Images()
	for _, n := range images {
		for _, m := range []map[string]string{n.Annotations, n.DescriptorAnnotations} {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				key := note{k, m[k]}
				if has[key] == nil {
					order = append(order, key)
				}
				if !slices.Contains(has[key], n.Name) {
					has[key] = append(has[key], n.Name)
				}
			}
		}
	}
	for _, n := range order {
		where := strings.Join(has[n], ", ")
		if len(has[n]) == len(images) {
			where = "every platform"
		}
		showAnnotations(out, map[string]string{n.key: n.value}, where)
	}
}

func addRows(table *ui.Table, p ui.Palette, nodes []audit.Node, indent string) {
	for i := range nodes {
		n := &nodes[i]
		name := any(indent + n.Name)
		size, layers, created, command := "", "", "", ""
		switch {
		case n.Problem != "":
			name = p.Bad(indent + n.Name)
			command = n.Problem
		case n.Kind == audit.KindAttestation:
			name = p.Faint(indent + n.Name)
			size = ui.Bytes(n.TotalSize)
		default:
			size = ui.Bytes(n.TotalSize)
			layers = fmt.Sprint(len(n.Layers))
			if n.Config != nil {
				command = strings.Join(append(slices.Clone(n.Config.Entrypoint), n.Config.Cmd...), " ")
				if n.Config.Created != nil {
					created = n.Config.Created.UTC().Format(time.DateTime)
				}
			}
		}
		table.Row(name, n.Digest.String(), size, layers, created, command)
		addRows(table, p, n.Children, indent+"  ")
	}
}

func showAnnotations(out *ui.Stream, annotations map[string]string, where string) {
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		line := fmt.Sprintf("  %s = %s", ui.Clean(k), ui.Clean(annotations[k]))
		if where != "" {
			line += "  " + out.Faint("("+where+")").String()
		}
		fmt.Fprintln(out, line)
	}
}
