package release

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/ui"
)

// showReports is the audit for people: what each platform is, then what was
// found. Tags that name the same are shown once.
func (w *Workspace) showReports(reports []*audit.Report) error {
	out := w.Streams.Out
	shown := map[string]bool{}
	for _, r := range reports {
		key := r.Tree.Digest.String()
		if key != "" && shown[key] {
			continue
		}
		if len(shown) > 0 {
			fmt.Fprintln(out)
		}
		shown[key] = true
		var group []*audit.Report
		for _, same := range reports {
			if same == r || (key != "" && same.Tree.Digest == r.Tree.Digest) {
				fmt.Fprintln(out, out.Bold(same.Tree.Reference))
				group = append(group, same)
			}
		}
		if key != "" {
			format := "OCI"
			if strings.Contains(r.Tree.MediaType, "docker") {
				format = "Docker"
			}
			fmt.Fprintf(out, "%s %s %s\n", format, r.Tree.Kind, r.Tree.Digest)
			if r.Tree.Kind == audit.KindIndex {
				showAnnotations(out, r.Tree.Annotations, "")
			}
			if err := w.imageTable(r); err != nil {
				return err
			}
			showImageAnnotations(out, r.Tree)
		}
		w.showFindings(out, audit.Severities, group...)
	}
	return nil
}

func (w *Workspace) imageTable(r *audit.Report) error {
	out := w.Streams.Out
	images := map[string]audit.Image{}
	for _, im := range r.Images {
		images[im.Digest.String()] = im
	}
	columns := []ui.Column{{Title: "PLATFORM", Keep: true}, {Title: "DIGEST"}, {Title: "SIZE", Right: true},
		{Title: "LAYERS", Right: true}, {Title: "BUILT BY"}, {Title: "PROVEN ON"}}
	// What the binaries are goes beside them where there is room, else below.
	beside := !out.IsTerminal() || out.Width() >= binariesWidth
	if beside {
		columns = append(columns, ui.Column{Title: "BINARIES"})
	}
	t := ui.NewTable(columns...)
	var below []string
	var add func(nodes []audit.Node, indent string)
	add = func(nodes []audit.Node, indent string) {
		for i := range nodes {
			n := &nodes[i]
			im := images[n.Digest.String()]
			name, layers, binaries := any(indent+n.Name), fmt.Sprint(len(n.Layers)), im.Binaries
			switch {
			case n.Problem != "":
				name, layers = out.Bad(indent+n.Name), ""
				binaries = n.Problem
			case n.Kind == audit.KindAttestation:
				name, layers = out.Faint(indent+n.Name), ""
			case n.Kind == audit.KindIndex:
				layers = ""
			}
			row := []any{name, n.Digest.String(), ui.Bytes(n.TotalSize), layers, im.BuiltBy, strings.Join(im.ProvenOn, ", ")}
			if beside {
				row = append(row, binaries)
			} else if binaries != "" {
				below = append(below, n.Name+": "+binaries)
			}
			t.Row(row...)
			add(n.Children, indent+"  ")
		}
	}
	if r.Tree.Kind == audit.KindIndex {
		add(r.Tree.Children, "")
	} else {
		add([]audit.Node{r.Tree.Node}, "")
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, line := range below {
		fmt.Fprintf(out, "  %s\n", audit.Printable(line))
	}
	return nil
}

// binariesWidth is how wide a terminal must be to show a table's last column.
const binariesWidth = 110

// showFindings lists what was found, of the severities that are wanted.
func (w *Workspace) showFindings(out *ui.Stream, wanted []audit.Severity, reports ...*audit.Report) {
	style := map[audit.Severity]func(string) ui.Text{audit.Error: out.Bad, audit.Warning: out.Warn, audit.Note: out.Faint}
	said := map[string]bool{}
	for _, r := range reports {
		for _, f := range r.Findings {
			text := f.String()
			if !slices.Contains(wanted, f.Severity) || said[text] {
				continue
			}
			said[text] = true
			if rest, ok := strings.CutPrefix(text, string(f.Severity)); ok {
				text = strings.TrimPrefix(rest, ":")
			}
			fmt.Fprintf(out, "%s %s\n", style[f.Severity](string(f.Severity)+":"), strings.TrimSpace(text))
			for _, e := range f.Evidence {
				fmt.Fprintf(out, "  %s\n", audit.Printable(e))
			}
			showChain(out, f.Chain)
		}
	}
}

// showChain says how a file is reached, on as many lines as a terminal needs.
func showChain(out *ui.Stream, chain []string) {
	line := "  reached by "
	for i, link := range chain {
		link = audit.Printable(link)
		if i > 0 {
			link = "→ " + link
		}
		if out.IsTerminal() && i > 0 && runewidth.StringWidth(line)+runewidth.StringWidth(link) > out.Width() {
			fmt.Fprintln(out, strings.TrimRight(line, " "))
			line = "    "
		}
		line += link + " "
	}
	if len(chain) > 0 {
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
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

func showAnnotations(out *ui.Stream, annotations map[string]string, where string) {
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		line := fmt.Sprintf("  %s = %s", ui.Clean(k), ui.Clean(annotations[k]))
		if where != "" {
			line += "  " + out.Faint("("+where+")").String()
		}
		fmt.Fprintln(out, line)
	}
}

// showDiff says what the drafts would change.
func (w *Workspace) showDiff(diffs []*index.Difference) error {
	out := w.Streams.Out
	change := func(indent string, c index.Change) {
		switch {
		case c.From == "":
			fmt.Fprintf(out, "%s%s %s = %s\n", indent, out.Good("+"), ui.Clean(c.Field), ui.Clean(c.To))
		case c.To == "":
			fmt.Fprintf(out, "%s%s %s = %s\n", indent, out.Bad("-"), ui.Clean(c.Field), ui.Clean(c.From))
		default:
			fmt.Fprintf(out, "%s%s %s: %s → %s\n", indent, out.Warn("~"), ui.Clean(c.Field), ui.Clean(c.From), ui.Clean(c.To))
		}
	}
	for _, d := range diffs {
		if d.Same() {
			fmt.Fprintf(out, "%s is the draft already, %s\n", out.Bold(d.Reference), d.Draft)
			continue
		}
		from := d.Published.String()
		if from == "" {
			from = "(nothing)"
		}
		fmt.Fprintf(out, "%s  %s → %s\n", out.Bold(d.Reference), from, d.Draft)
		for _, c := range d.Added {
			fmt.Fprintf(out, "  %s %s %s\n", out.Good("+"), c.Platform, c.Digest)
		}
		for _, c := range d.Removed {
			fmt.Fprintf(out, "  %s %s %s\n", out.Bad("-"), c.Platform, c.Digest)
		}
		for _, c := range d.Changed {
			fmt.Fprintf(out, "  %s %s %s → %s\n", out.Warn("~"), c.Platform, c.From, c.To)
			for _, f := range c.Changes {
				change("      ", f)
			}
			if l := c.Layers; l != nil {
				fmt.Fprintf(out, "      %s layers: %d of %d kept, %s → %s\n", out.Warn("~"), l.Common, l.From, ui.Bytes(l.FromSize), ui.Bytes(l.ToSize))
			}
		}
		if d.Order != nil {
			change("  ", *d.Order)
		}
		if d.MediaType != nil {
			change("  ", *d.MediaType)
		}
		for _, a := range d.Annotations {
			change("  ", a)
		}
	}
	return nil
}
