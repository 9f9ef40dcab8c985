package audit

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes reports for a pull request or the summary of a CI run:
// the images as a table, then what was found.
func WriteMarkdown(w io.Writer, reports ...*Report) error {
	b := bufio.NewWriter(w)
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(b)
		}
		fmt.Fprintf(b, "### %s\n\n%s `%s`\n", code(r.Tree.Reference), verdict(r), r.Tree.Digest)
		markdownImages(b, r)
		markdownFindings(b, r)
	}
	return b.Flush()
}

func verdict(r *Report) string {
	counts := map[Severity]int{}
	for _, f := range r.Findings {
		counts[f.Severity]++
	}
	var parts []string
	for _, s := range Severities {
		if n := counts[s]; n == 1 {
			parts = append(parts, fmt.Sprintf("1 %s", s))
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	if len(parts) == 0 {
		return "**Nothing found** in"
	}
	return "**" + strings.Join(parts, ", ") + "** in"
}

func markdownImages(b *bufio.Writer, r *Report) {
	if len(r.Images) == 0 {
		return
	}
	nodes := r.Tree.Images()
	built, proven := false, false
	for _, image := range r.Images {
		built = built || image.BuiltBy != ""
		proven = proven || len(image.ProvenOn) > 0
	}
	titles := []string{"platform", "digest", "size", "layers", "binaries"}
	if built {
		titles = append(titles, "built by")
	}
	if proven {
		titles = append(titles, "proven on")
	}
	fmt.Fprintf(b, "\n| %s |\n|%s\n", strings.Join(titles, " | "), strings.Repeat("---|", len(titles)))
	for i, image := range r.Images {
		what := image.Binaries
		if image.Incomplete != "" {
			what = strings.TrimPrefix(what+" (not judged in full: "+image.Incomplete+")", " ")
		}
		size, layers := "", ""
		if i < len(nodes) {
			size, layers = decimal(nodes[i].TotalSize), fmt.Sprint(len(nodes[i].Layers))
		}
		cells := []string{escape(image.Platform), "`" + short(image.Digest) + "`", size, layers, escape(what)}
		if built {
			cells = append(cells, escape(image.BuiltBy))
		}
		if proven {
			cells = append(cells, escape(strings.Join(image.ProvenOn, ", ")))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

func markdownFindings(b *bufio.Writer, r *Report) {
	if len(r.Findings) == 0 {
		return
	}
	fmt.Fprintln(b)
	for _, f := range r.Findings {
		fmt.Fprintf(b, "- **%s** [%s](%s/blob/main/docs/audit.md#%s)", f.Severity, f.ID, home, f.ID)
		if f.Platform != "" {
			fmt.Fprintf(b, " %s", escape(f.Platform))
		}
		if f.Path != "" {
			fmt.Fprintf(b, " %s", code(f.Path))
		}
		fmt.Fprintf(b, ": %s", escape(f.Message))
		if f.Layer != "" {
			fmt.Fprintf(b, " (layer `%s`)", short(f.Layer))
		}
		fmt.Fprintln(b)
		if reached := f.Reached(); reached != "" {
			fmt.Fprintf(b, "  - reached by %s\n", escape(reached))
		}
	}
}

// decimal is a size in the units of registries' own pages.
func decimal(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// escape makes foreign text what it is in Markdown, not markup.
func escape(s string) string {
	return markup.Replace(Printable(s))
}

var markup = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", `\|`, "#", `\#`, "@", "&#64;", "~", `\~`, "!", `\!`,
)

// code shows foreign text as code, with a fence longer than any in it. It is
// not for tables, whose cells a pipe would end.
func code(s string) string {
	s = Printable(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}
