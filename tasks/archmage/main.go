// Archmage is the command for projects without a magefile: the same tasks, with
// a command line of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/tasks/api"
)

func main() { os.Exit(run(os.Args[1:])) }

// run runs one command line and returns the code to end with.
func run(args []string) int {
	a := &app{project: api.Project{Command: "archmage"}}
	root := a.root()
	root.SetArgs(dashes(root, args))
	cmd, err := root.ExecuteC()
	a.cancel()
	if err == nil {
		return 0
	}
	streams := ui.Capture(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	streams.Err.Commands = ui.Commands{Program: "archmage", Dashes: true}
	var failed *api.Error
	if errors.As(err, &failed) {
		if errors.Is(err, context.DeadlineExceeded) {
			fmt.Fprintf(os.Stderr, "Error: stopped after %s, as --timeout says\n", a.timeout)
			return failed.Code
		}
		fmt.Fprintln(os.Stderr, "Error:", failed)
		return failed.Code
	}
	var wrong *usageError
	if !errors.As(err, &wrong) { // cobra's own words
		wrong = &usageError{problem: err.Error()}
	}
	if wrong.hint == "" {
		wrong.hint = fmt.Sprintf("`%s --help` shows what there is", cmd.CommandPath())
	}
	fmt.Fprintln(os.Stderr, "Error:", ui.Error(streams.Err.Palette, wrong))
	return api.ExitUsage
}

// usageError is a command line that cannot be meant.
type usageError struct{ problem, hint string }

func (e *usageError) Error() string  { return e.problem + "; nothing was touched" }
func (e *usageError) Remedy() string { return e.hint }

// app is one invocation.
type app struct {
	project  api.Project
	progress string
	timeout  time.Duration
	cancel   context.CancelFunc
}

func (a *app) root() *cobra.Command {
	a.cancel = func() {}
	root := &cobra.Command{
		Use:   "archmage",
		Short: "One HCL file into one proven multi-arch container release",
		Long: `One HCL file in, one proven multi-arch container release out: archmage builds
every platform of targets.hcl, looks into every binary, runs the images on real
devices, and only then moves the tags: all of them, or none.

Start with "archmage init", then "archmage plan" and "archmage release".`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		// Two letters wrong, or two that changed places.
		SuggestionsMinimumDistance: 2,
		Args:                       a.noCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.progress != "" && !slices.Contains(progresses, a.progress) {
				return &usageError{fmt.Sprintf("there is no progress %q", a.progress), "it is one of " + strings.Join(progresses, ", ")}
			}
			if a.progress != "" {
				a.project.Env = append(a.project.Env, "ARCHMAGE_PROGRESS="+a.progress)
			}
			ctx := context.Background()
			if a.timeout > 0 {
				ctx, a.cancel = context.WithTimeout(ctx, a.timeout)
			}
			cmd.SetContext(ctx)
			return nil
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.TrimPrefix(ui.Dashed(name), "--"))
	})
	flags := root.PersistentFlags()
	flags.StringVarP(&a.project.Dir, "dir", "C", "", "work in this directory")
	flags.StringArrayVarP(&a.project.Files, "file", "f", nil, "read this file instead of the default ones (may be repeated)")
	flags.StringVar(&a.progress, "progress", "", "how builds are shown: "+strings.Join(progresses, ", "))
	flags.DurationVar(&a.timeout, "timeout", 0, "stop after this time: 30m")
	must(root.MarkPersistentFlagDirname("dir"))
	must(root.MarkPersistentFlagFilename("file", "hcl", "json", "yaml", "yml"))
	must(root.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions(progresses, cobra.ShellCompDirectiveNoFileComp)))
	root.AddGroup(&cobra.Group{ID: "release", Title: "Release:"}, &cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "machines", Title: "Machines:"}, &cobra.Group{ID: "start", Title: "Start:"})
	root.SetHelpCommandGroupID("start")
	root.SetCompletionCommandGroupID("start")
	root.AddCommand(a.verbs()...)
	commas(root)
	return root
}

var progresses = []string{"auto", "plain", "tty", "quiet"}

// must is for registrations, which fail only where a flag was misspelt here.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// noCommand refuses what is no command.
func (a *app) noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := &usageError{problem: fmt.Sprintf("there is no command %q", args[0])}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		e.hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return e
}

// version is that of the binary, the commit and the compiler.
func version() string {
	text := "archmage " + api.Version()
	if info, ok := debug.ReadBuildInfo(); ok {
		var commit, dirty string
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = ", dirty"
			}
		}
		if commit != "" {
			text += fmt.Sprintf(" (commit %s%s)", commit, dirty)
		}
	}
	return fmt.Sprintf("%s %s %s/%s", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
