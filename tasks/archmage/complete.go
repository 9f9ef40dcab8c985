package main

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/archmage-build/archmage/internal/release"
	"github.com/archmage-build/archmage/tasks/api"
)

// completion proposes words.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// words proposes names that are not on the line yet, up to a number of words; 0
// is any.
func (a *app) words(kind release.Kind, limit int) completion {
	return func(_ *cobra.Command, have []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(have) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return proposals(api.Names(a.project, kind), have), order(kind)
	}
}

// list proposes names for a flag that takes several, joined by commas.
func (a *app) list(kind release.Kind) completion {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		at := strings.LastIndex(begun, ",") + 1
		out := proposals(api.Names(a.project, kind), strings.Split(begun[:at], ","))
		for i := range out {
			out[i] = begun[:at] + out[i]
		}
		return out, order(kind) | cobra.ShellCompDirectiveNoSpace
	}
}

// order keeps the newest release first.
func order(kind release.Kind) cobra.ShellCompDirective {
	if kind == api.ReleaseNames {
		return cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
	return cobra.ShellCompDirectiveNoFileComp
}

func proposals(names []api.Name, have []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(have, n.Name) {
			out = append(out, cobra.CompletionWithDesc(n.Name, strings.ReplaceAll(n.Description, "\n", " ")))
		}
	}
	return out
}

// none proposes nothing, where file names would be wrong.
func none(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// commas makes cobra's script for bash leave commas as they are: its quoting
// turns door,rack into door\,rack, which then does not begin with what was typed.
func commas(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	bash, _, err := root.Find([]string{"completion", "bash"})
	must(err)
	bash.RunE = func(cmd *cobra.Command, _ []string) error {
		plain, err := cmd.Flags().GetBool("no-descriptions")
		if err != nil {
			return err
		}
		var script bytes.Buffer
		if err := root.GenBashCompletionV2(&script, !plain); err != nil {
			return err
		}
		text := script.String()
		for _, quoted := range []struct{ line, name string }{
			{`printf -v comp "%q" "${compline%%$tab*}" &>/dev/null || comp=$(printf "%q" "${compline%%$tab*}")`, "comp"},
			{`COMPREPLY[0]=$(printf "%q" "${COMPREPLY[0]%%$tab*}")`, "COMPREPLY[0]"},
			{`COMPREPLY[0]=$(printf "%q" "${COMPREPLY[0]}")`, "COMPREPLY[0]"},
		} {
			text = strings.ReplaceAll(text, quoted.line, quoted.line+"\n        "+quoted.name+`=${`+quoted.name+`//\\,/,}`)
		}
		_, err = io.WriteString(cmd.OutOrStdout(), text)
		return err
	}
}
