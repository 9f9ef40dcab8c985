package main

import (
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
