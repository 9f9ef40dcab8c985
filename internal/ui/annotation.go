package ui

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Annotations are diagnostics as workflow commands of GitHub Actions, which shows
// them beside the lines that they are about.
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions
func Annotations(diags hcl.Diagnostics) []string {
	var out []string
	for _, d := range diags {
		kind := "error"
		if d.Severity == hcl.DiagWarning {
			kind = "warning"
		}
		where := ""
		if s := d.Subject; s != nil && s.Filename != "" {
			where = fmt.Sprintf("file=%s,line=%d,col=%d,", property(s.Filename), s.Start.Line, s.Start.Column)
			if s.End.Line == s.Start.Line && s.End.Column > s.Start.Column {
				where += fmt.Sprintf("endColumn=%d,", s.End.Column)
			}
		}
		out = append(out, fmt.Sprintf("::%s %stitle=%s::%s", kind, where, property(d.Summary), data(d.Detail)))
	}
	return out
}

// Annotation is an error that has no place in a file.
func Annotation(title, text string) string {
	return fmt.Sprintf("::error title=%s::%s", property(title), data(text))
}

// data escapes what a command says; a line end would begin another command.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(CleanLines(s))
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(Clean(s))
}
