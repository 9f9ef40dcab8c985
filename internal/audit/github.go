package audit

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteGitHub writes the findings as workflow commands, which GitHub Actions
// shows as annotations of the run.
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions
func WriteGitHub(w io.Writer, reports ...*Report) error {
	commands := map[Severity]string{Error: "error", Warning: "warning", Note: "notice"}
	b := bufio.NewWriter(w)
	for _, r := range reports {
		for _, f := range r.Findings {
			title := checkOf(f.ID).Title
			where := r.Tree.Reference
			for _, part := range []string{f.Platform, f.Path} {
				if part != "" {
					where += " " + part
				}
			}
			said := f.Message
			if reached := f.Reached(); reached != "" {
				said += " (reached by " + reached + ")"
			}
			fmt.Fprintf(b, "::%s title=%s::%s\n", commands[f.Severity], property(title), message(where+": "+said+" ["+f.ID+"]"))
		}
	}
	return b.Flush()
}

// message escapes what a workflow command says. Line ends, which would begin
// a command of their own, are visible escapes by then.
func message(s string) string {
	return strings.ReplaceAll(Printable(s), "%", "%25")
}

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(message(s))
}
