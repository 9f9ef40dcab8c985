package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/archmage-build/archmage/internal/config"
)

// Identity is a digest of what is released: targets, their platforms, sources,
// repositories and tags, and how they are published. An interrupted release goes
// on only for the same one. What the builds are made of is not in it (their own
// inputs decide that), nor is who builds or proves them.
func (p *Plan) Identity() string {
	h := sha256.New()
	line := func(key string, values ...string) {
		fmt.Fprint(h, key)
		for _, v := range values {
			fmt.Fprint(h, " ", strconv.Quote(v))
		}
		fmt.Fprintln(h)
	}
	line("archmage plan 1")
	line("release", p.Release.Attestations, p.Release.MediaTypes, p.Release.ArchTags)
	for _, t := range p.Targets {
		line("target", t.Name, strconv.FormatBool(!t.Published()), strconv.FormatBool(t.Partial))
		for _, tag := range t.Tags {
			line("tag", tag.String())
		}
		if t.Spec.Index != nil {
			line("index", *t.Spec.Index)
		}
		for _, s := range t.Sources {
			line("source", s)
		}
		for _, pl := range t.Platforms {
			line("platform", config.FormatPlatform(pl))
		}
		for _, b := range t.Builds {
			line("build", b.PlatformName(), b.Repository, strconv.FormatBool(b.Optional))
		}
		var needs []string
		for _, n := range t.Needs {
			needs = append(needs, n.Name)
		}
		slices.Sort(needs)
		line("needs", needs...)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
