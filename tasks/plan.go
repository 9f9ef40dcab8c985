package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
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
	return checked(func() error {
		return api.Plan(ctx, api.PlanOptions{
			Project: project(file, set), Targets: commas(targets), Platforms: commas(platforms),
			JSON: on(json), Print: on(print), Why: on(why), List: text(list),
		})
	})
}
