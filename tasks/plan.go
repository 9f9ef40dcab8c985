package tasks

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/archmage-build/archmage/internal/release"
)

// Plan shows what a release would do: which platform on which worker, which tags.
func Plan(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	platforms *string, // only these platforms: linux/arm64,linux/arm/v6
	json *bool, // for machines
	print *bool, // in the form of docker buildx bake --print
	why *bool, // what would be built, and what changed since it was built last
	list *string, // what there is, not what is asked for: targets or variables
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		o := release.PlanOptions{
			Selection: release.Selection{Targets: commas(targets), Platforms: commas(platforms), Files: filepath.SplitList(text(file)), Set: semicolons(set)},
			JSON:      isSet(json), Print: isSet(print), List: text(list),
		}
		if isSet(why) {
			return w.Why(ctx, o)
		}
		return w.Plan(o)
	})
}

// commas, isSet and semicolons read flags where flags of their names hide list
// and set.
func commas(flag *string) []string { return list(flag) }

func isSet(flag *bool) bool { return set(flag) }

func semicolons(flag *string) []string {
	var out []string
	for _, s := range strings.Split(text(flag), ";") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
