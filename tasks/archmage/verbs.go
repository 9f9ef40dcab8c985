package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/archmage-build/archmage/internal/release"
	"github.com/archmage-build/archmage/tasks/api"
)

// verbs are all commands, as mage has them.
func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.release(), a.build(), a.assemble(), a.annotate(), a.push(), a.smoke(), a.rollback(), a.reproduce(),
		a.plan(), a.inspect(), a.releases(), a.report(), a.explain(),
		a.workers(), a.devices(), a.doctor(), a.wipe(), a.up(), a.down(),
		a.start(),
	}
}

// verb makes a command that takes words of a kind; at most limit of them.
func (a *app) verb(group, use, short string, propose completion, run func(ctx context.Context, words []string) error) *cobra.Command {
	takes := strings.Contains(use, " ")
	c := &cobra.Command{
		Use: use, Short: short, GroupID: group, ValidArgsFunction: propose,
		RunE: func(cmd *cobra.Command, words []string) error { return run(cmd.Context(), words) },
	}
	c.Args = func(cmd *cobra.Command, words []string) error {
		switch {
		case !takes && len(words) > 0:
			return &usageError{fmt.Sprintf("%s takes no words, so no %q", cmd.Name(), words[0]), ""}
		case takes && !strings.Contains(use, "...") && len(words) > 1:
			return &usageError{fmt.Sprintf("%s takes one word, and there are %d: %s", cmd.Name(), len(words), strings.Join(words, " ")), ""}
		case strings.Contains(use, "<") && len(words) == 0:
			return &usageError{fmt.Sprintf("%s wants a word more: %s", cmd.Name(), use), ""}
		}
		return nil
	}
	return c
}

// onTargets is a verb on targets, by their names as words or with --targets.
func (a *app) onTargets(group, name, short string, run func(ctx context.Context, targets []string) error) *cobra.Command {
	var flag []string
	c := a.verb(group, name+" [TARGET...]", short, a.words(api.TargetNames, 0), func(ctx context.Context, words []string) error {
		return run(ctx, append(slices.Clone(flag), words...))
	})
	c.Flags().StringSliceVar(&flag, "targets", nil, "targets and groups, by name or pattern; as words they need no flag")
	must(c.RegisterFlagCompletionFunc("targets", a.list(api.TargetNames)))
	a.overrides(c, &a.project.Set)
	return c
}

func (a *app) platforms(c *cobra.Command, to *[]string) {
	c.Flags().StringSliceVar(to, "platforms", nil, "only these platforms: linux/arm64,linux/arm/v6")
	must(c.RegisterFlagCompletionFunc("platforms", a.list(api.PlatformNames)))
}

func (a *app) overrides(c *cobra.Command, to *[]string) {
	c.Flags().StringArrayVar(to, "set", nil, "override as bake does: app.args.V=1, *.platform=linux/arm64 (may be repeated)")
	must(c.RegisterFlagCompletionFunc("set", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		var out []string
		for _, n := range api.Names(a.project, api.TargetNames) {
			for _, key := range []string{"args.", "platform=", "tags=", "context=", "dockerfile=", "target=", "no-cache=", "pull="} {
				if full := n.Name + "." + key; strings.HasPrefix(full, begun) {
					out = append(out, full)
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}))
}

func (a *app) deviceFlag(c *cobra.Command, to *[]string) {
	c.Flags().StringSliceVar(to, "device", nil, "only these devices: door,rack")
	must(c.RegisterFlagCompletionFunc("device", a.list(api.DeviceNames)))
}

func reference(c *cobra.Command, to *string, usage string) {
	c.Flags().StringVar(to, "ref", "", usage)
	must(c.RegisterFlagCompletionFunc("ref", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault // a layout or an archive
	}))
}

const (
	jsonUsage  = "print JSON, for machines"
	forceUsage = "move tags that somebody else has moved meanwhile"
	freshUsage = "build again, whatever earlier runs have built"
)

func (a *app) release() *cobra.Command {
	o := &api.ReleaseOptions{}
	c := a.onTargets("release", "release", "Build, inspect, prove and push all targets; tags move last", func(ctx context.Context, targets []string) error {
		o.Project, o.Targets = a.project, targets
		return api.Release(ctx, *o)
	})
	c.Flags().BoolVar(&o.Fresh, "fresh", false, freshUsage)
	c.Flags().BoolVar(&o.Offline, "offline", false, "take base images as they were where their registry does not answer")
	c.Flags().BoolVar(&o.Force, "force", false, forceUsage)
	c.Flags().BoolVar(&o.NoReferrer, "no-referrer", false, "do not attach the record to the image")
	c.Flags().BoolVarP(&o.DryRun, "dry-run", "n", false, "ask everybody who takes part, and change nothing")
	c.Flags().BoolVar(&o.JSON, "json", false, "print the result as JSON, for machines")
	c.Flags().StringVar(&o.Metadata, "metadata", "", "write the result as JSON to a file")
	return c
}

func (a *app) plan() *cobra.Command {
	o := &api.PlanOptions{}
	c := a.onTargets("look", "plan", "Show what a release would do", func(ctx context.Context, targets []string) error {
		o.Project, o.Targets = a.project, targets
		return api.Plan(ctx, *o)
	})
	a.platforms(c, &o.Platforms)
	c.Flags().BoolVar(&o.JSON, "json", false, jsonUsage)
	c.Flags().BoolVar(&o.Print, "print", false, "print it as docker buildx bake --print does")
	c.Flags().BoolVar(&o.Why, "why", false, "show what would be built, and what changed since it was built last")
	c.Flags().StringVar(&o.List, "list", "", "show what there is: targets, variables")
	must(c.RegisterFlagCompletionFunc("list", cobra.FixedCompletions([]string{"targets", "variables"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func (a *app) build() *cobra.Command {
	o := &api.BuildOptions{}
	c := a.onTargets("release", "build", "Build every platform and push it by digest; no tag moves", func(ctx context.Context, targets []string) error {
		o.Project, o.Targets = a.project, targets
		return api.Build(ctx, *o)
	})
	a.platforms(c, &o.Platforms)
	c.Flags().BoolVar(&o.Fresh, "fresh", false, freshUsage)
	c.Flags().BoolVar(&o.Offline, "offline", false, "take base images as they were where their registry does not answer")
	return c
}

func (a *app) assemble() *cobra.Command {
	return a.onTargets("release", "assemble", "Make a draft index of each target from what was built", func(ctx context.Context, targets []string) error {
		return api.Assemble(ctx, api.AssembleOptions{Project: a.project, Targets: targets})
	})
}

func (a *app) annotate() *cobra.Command {
	return a.onTargets("release", "annotate", "Write the annotations of targets.hcl into the drafts", func(ctx context.Context, targets []string) error {
		return api.Annotate(ctx, api.AnnotateOptions{Project: a.project, Targets: targets})
	})
}

func (a *app) push() *cobra.Command {
	o := &api.PushOptions{}
	c := a.onTargets("release", "push", "Push the drafts by digest, then move the tags, latest last", func(ctx context.Context, targets []string) error {
		o.Project, o.Targets = a.project, targets
		return api.Push(ctx, *o)
	})
	c.Flags().BoolVar(&o.Force, "force", false, forceUsage+", and to what was not inspected")
	c.Flags().BoolVar(&o.NoReferrer, "no-referrer", false, "do not attach the record to the image")
	return c
}

func (a *app) inspect() *cobra.Command {
	o := &api.InspectOptions{}
	formats := map[api.Format]*bool{}
	c := a.onTargets("look", "inspect", "Show and audit drafts, what is published, or any image", func(ctx context.Context, words []string) error {
		o.Project = a.project
		if len(words) == 1 && o.Ref == "" && isImage(words[0]) {
			o.Ref, words = words[0], nil
		}
		o.Targets = words
		for format, asked := range formats {
			if *asked {
				o.Formats = append(o.Formats, format)
			}
		}
		return api.Inspect(ctx, *o)
	})
	c.Use = "inspect [TARGET... | IMAGE]"
	reference(c, &o.Ref, "any image: alpine:3.20, oci:DIR, archive.tar")
	c.Flags().BoolVar(&o.Draft, "draft", false, "the drafts, even where they are published")
	c.Flags().BoolVar(&o.Diff, "diff", false, "what the drafts would change")
	c.Flags().BoolVar(&o.Releases, "releases", false, "the tags of all that was released: drift, vanished images")
	for _, f := range []struct {
		format api.Format
		usage  string
	}{
		{api.JSON, jsonUsage}, {api.SARIF, "print SARIF 2.1.0, for code scanning"},
		{api.Markdown, "print Markdown, for a pull request or a CI summary"},
		{api.Raw, "print the exact bytes of the manifest of an image"},
		{api.SBOM, "print the SBOMs"}, {api.Provenance, "print the provenance statements"},
	} {
		formats[f.format] = c.Flags().Bool(string(f.format), false, f.usage)
	}
	return c
}

// isImage reports whether a word is an image rather than a target, whose names
// have none of these.
func isImage(word string) bool {
	if strings.ContainsAny(word, "/:.@") {
		return true
	}
	_, err := os.Stat(word)
	return err == nil
}

func (a *app) smoke() *cobra.Command {
	o := &api.SmokeOptions{}
	c := a.onTargets("release", "smoke", "Run what is published on the devices", func(ctx context.Context, targets []string) error {
		o.Project, o.Targets = a.project, targets
		return api.Smoke(ctx, *o)
	})
	a.deviceFlag(c, &o.Devices)
	reference(c, &o.Ref, "any image, instead of what is published")
	c.Flags().BoolVar(&o.JSON, "json", false, jsonUsage)
	c.Flags().BoolVar(&o.JUnit, "junit", false, "print JUnit XML, for a CI")
	return c
}

func (a *app) rollback() *cobra.Command {
	o := &api.RollbackOptions{}
	c := a.verb("release", "rollback [RELEASE]", "Put all tags back to what they were before the newest release, or to a release", a.words(api.ReleaseNames, 1),
		func(ctx context.Context, words []string) error {
			o.Project = a.project
			if len(words) == 1 {
				if o.To != "" && o.To != words[0] {
					return &usageError{fmt.Sprintf("there are two releases, %q and %q", words[0], o.To), "name one"}
				}
				o.To = words[0]
			}
			return api.Rollback(ctx, *o)
		})
	c.Flags().StringVar(&o.To, "to", "", "the release whose tags are wanted again, by the beginning of its id")
	must(c.RegisterFlagCompletionFunc("to", a.words(api.ReleaseNames, 0)))
	c.Flags().BoolVar(&o.Force, "force", false, forceUsage)
	c.Flags().BoolVarP(&o.DryRun, "dry-run", "n", false, "only say what would move")
	return c
}

func (a *app) releases() *cobra.Command {
	var json bool
	c := a.verb("look", "releases", "List what was released, the newest first", none, func(ctx context.Context, _ []string) error {
		return api.Releases(ctx, api.ReleasesOptions{Project: a.project, JSON: json})
	})
	c.Flags().BoolVar(&json, "json", false, jsonUsage)
	return c
}

func (a *app) report() *cobra.Command {
	o := &api.ReportOptions{}
	c := a.verb("look", "report [RELEASE]", "Write one HTML page of a release", a.words(api.ReleaseNames, 1), func(ctx context.Context, words []string) error {
		o.Project = a.project
		if len(words) == 1 {
			if o.Release != "" && o.Release != words[0] {
				return &usageError{fmt.Sprintf("there are two releases, %q and %q", words[0], o.Release), "name one"}
			}
			o.Release = words[0]
		}
		return api.Report(ctx, *o)
	})
	c.Flags().StringVar(&o.Release, "release", "", "the id of a release, or its beginning, instead of the newest")
	must(c.RegisterFlagCompletionFunc("release", a.words(api.ReleaseNames, 0)))
	c.Flags().StringVarP(&o.Output, "output", "o", "", "the file to write, instead of one in .archmage/reports")
	return c
}

func (a *app) reproduce() *cobra.Command {
	o := &api.ReproduceOptions{}
	c := a.verb("release", "reproduce [RELEASE]", "Build a release again from its commit and compare every digest", a.words(api.ReleaseNames, 1),
		func(ctx context.Context, words []string) error {
			o.Project = a.project
			if len(words) == 1 {
				o.Release = words[0]
			}
			return api.Reproduce(ctx, *o)
		})
	c.Flags().StringVar(&o.Release, "release", "", "the release, by the beginning of its id")
	must(c.RegisterFlagCompletionFunc("release", a.words(api.ReleaseNames, 0)))
	reference(c, &o.Ref, "a published image of this repository, instead of a release")
	c.Flags().StringSliceVar(&o.Targets, "targets", nil, "only these targets")
	must(c.RegisterFlagCompletionFunc("targets", a.list(api.TargetNames)))
	a.platforms(c, &o.Platforms)
	c.Flags().BoolVar(&o.JSON, "json", false, jsonUsage)
	return c
}

func (a *app) explain() *cobra.Command {
	return a.verb("look", "explain <CHECK>", "Say what a check of the audit means and how it is fixed", a.words(api.CheckNames, 1),
		func(ctx context.Context, words []string) error {
			return api.Explain(ctx, api.ExplainOptions{Project: a.project, Check: words[0]})
		})
}

func (a *app) workers() *cobra.Command {
	var json bool
	c := a.onTargets("machines", "workers", "Look at every worker: who answers, what it builds, how full it is", func(ctx context.Context, targets []string) error {
		return api.Workers(ctx, api.WorkersOptions{Project: a.project, Targets: targets, JSON: json})
	})
	c.Flags().BoolVar(&json, "json", false, jsonUsage)
	return c
}

// onDevices is a verb on devices, by their names as words or with --device.
func (a *app) onDevices(name, short string, run func(ctx context.Context, devices []string) error) *cobra.Command {
	var flag []string
	c := a.verb("machines", name+" [DEVICE...]", short, a.words(release.DeviceNames, 0), func(ctx context.Context, words []string) error {
		return run(ctx, append(slices.Clone(flag), words...))
	})
	a.deviceFlag(c, &flag)
	return c
}

func (a *app) devices() *cobra.Command {
	var json bool
	c := a.onDevices("devices", "Look at every device: who is reachable, what it is and runs", func(ctx context.Context, devices []string) error {
		return api.Devices(ctx, api.DevicesOptions{Project: a.project, Devices: devices, JSON: json})
	})
	c.Flags().BoolVar(&json, "json", false, jsonUsage)
	return c
}

func (a *app) doctor() *cobra.Command {
	var json bool
	c := a.onTargets("machines", "doctor", "Ask workers, devices and registries whether a release could begin", func(ctx context.Context, targets []string) error {
		return api.Doctor(ctx, api.DoctorOptions{Project: a.project, Targets: targets, JSON: json})
	})
	c.Flags().BoolVar(&json, "json", false, jsonUsage)
	return c
}

func (a *app) wipe() *cobra.Command {
	o := &api.WipeOptions{}
	var keep days
	c := a.onDevices("wipe", "Remove images from devices, or build cache from workers", func(ctx context.Context, devices []string) error {
		o.Project, o.Devices, o.Keep = a.project, devices, time.Duration(keep)
		return api.Wipe(ctx, *o)
	})
	c.Flags().BoolVar(&o.All, "all", false, "every image of the devices, whoever put it there; asks")
	c.Flags().BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&o.Stop, "stop", false, "end containers that use such an image")
	c.Flags().BoolVar(&o.Workers, "workers", false, "the build cache of every worker, instead")
	c.Flags().Var(&keep, "keep", "spare cache that was used within this time: 48h, 7d")
	c.Flags().BoolVarP(&o.DryRun, "dry-run", "n", false, "only say what would go")
	return c
}

func (a *app) up() *cobra.Command {
	return a.verb("machines", "up", "Start the embedded worker and registry, as a release would", none, func(ctx context.Context, _ []string) error {
		return api.Up(ctx, api.UpOptions{Project: a.project})
	})
}

func (a *app) down() *cobra.Command {
	return a.verb("machines", "down", "End the embedded worker and registry; caches and images stay", none, func(ctx context.Context, _ []string) error {
		return api.Down(ctx, api.DownOptions{Project: a.project})
	})
}

func (a *app) start() *cobra.Command {
	return a.verb("start", "init", "Write a first targets.hcl from the Dockerfiles, bake or compose file that are there", none, func(ctx context.Context, _ []string) error {
		return api.Init(ctx, api.InitOptions{Project: a.project})
	})
}
