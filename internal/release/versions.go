package release

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// floatingTag is one that names a line of versions, "latest", "1" or "1.2", with
// or without a v.
var floatingTag = regexp.MustCompile(`^(?:latest|v?(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))?)$`)

// fullVersion is a tag such as 1.2.3 or v1.2.3-rc.1, in the form of x/mod/semver;
// "" for another.
func fullVersion(tag string) string {
	v := "v" + strings.TrimPrefix(tag, "v")
	if !semver.IsValid(v) || strings.Count(strings.SplitN(v, "-", 2)[0], ".") != 2 {
		return ""
	}
	return v
}

// overtaken is the newest published version that a floating tag belongs to rather
// than to version, "" for none. A version before a release, such as 1.2.3-rc.1,
// moves no floating tag: it is overtaken by itself.
func overtaken(floating, version string, published []string) string {
	if semver.Prerelease(version) != "" {
		return version
	}
	line := strings.TrimPrefix(floating, "v")
	newest := ""
	for _, tag := range published {
		v := fullVersion(tag)
		if v == "" || semver.Prerelease(v) != "" {
			continue // 1.2.3-arm64 is no version of its own either
		}
		inLine := line == "latest" || strings.HasPrefix(v, "v"+line+".")
		if inLine && semver.Compare(v, version) > 0 && (newest == "" || semver.Compare(v, newest) > 0) {
			newest = v
		}
	}
	return newest
}

// byVersion takes those tags out of the plan that belong to a newer version than
// the one that is released: with tag_policy = "semver" latest, 1 and 1.2 point to
// the newest of their versions, in whatever order the versions are released.
func (w *Workspace) byVersion(ctx context.Context, p *plan.Plan, client *registry.Client) error {
	if p.Release.TagPolicy != "semver" {
		return nil
	}
	if err := w.registries(ctx, p, client); err != nil { // an embedded one may have to be started
		return err
	}
	w.status.Close()
	published := map[string][]string{}
	for _, t := range p.Published() {
		version := map[string]string{}
		for _, tag := range t.Tags {
			if v := fullVersion(tag.Name); v != "" && (version[tag.Repository] == "" || semver.Compare(v, version[tag.Repository]) > 0) {
				version[tag.Repository] = v
			}
		}
		var kept []plan.Tag
		for _, tag := range t.Tags {
			if !floatingTag.MatchString(tag.Name) {
				kept = append(kept, tag)
				continue
			}
			v := version[tag.Repository]
			if v == "" {
				w.say("%s stays where it is: no tag of %s is a version such as 1.2.3", tag, t.Name)
				continue
			}
			if _, ok := published[tag.Repository]; !ok {
				all, err := client.Tags(ctx, tag.Repository)
				if err != nil {
					return interrupted(ctx, err)
				}
				published[tag.Repository] = all
			}
			switch newer := overtaken(tag.Name, v, published[tag.Repository]); newer {
			case "":
				kept = append(kept, tag)
			case v:
				w.say("%s stays where it is: %s comes before a release", tag, strings.TrimPrefix(v, "v"))
			default:
				w.say("%s stays where it is: %s is published", tag, strings.TrimPrefix(newer, "v"))
			}
		}
		if len(kept) == 0 {
			return usage("Target without a version", fmt.Errorf("with tag_policy = \"semver\" one tag of target %q must be a version such as 1.2.3", t.Name))
		}
		t.Tags = slices.Clone(kept)
	}
	return nil
}

// GrowthError reports an image that grew more than max_growth allows.
type GrowthError struct{ Problems []string }

func (e *GrowthError) Error() string { return strings.Join(e.Problems, "\n") }

// Remedy is what to do next.
func (e *GrowthError) Remedy() string {
	return "`mage inspect -diff` shows what changed; make the image smaller, or raise max_growth in the release block"
}
