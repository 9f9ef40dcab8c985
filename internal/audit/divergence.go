package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// From where on platforms count as different.
const (
	sizeRatio  = 3        // largest to median
	sizeFloor  = 20 << 20 // bytes, below which nobody cares
	layerRatio = 2
	layerFloor = 4
	createdGap = 24 * time.Hour
)

// judgeDivergence compares the images of one operating system with each other.
func (a *auditor) judgeDivergence() {
	bySystem := map[string][]*Node{}
	for _, n := range a.tree.Images() {
		if n.Config != nil && n.Problem == "" {
			system, _, _ := strings.Cut(n.Platform, "/")
			bySystem[system] = append(bySystem[system], n)
		}
	}
	for _, system := range slices.Sorted(maps.Keys(bySystem)) {
		images := bySystem[system]
		if len(images) < 2 {
			continue
		}
		a.judgeSizes(images)
		if !a.options.Reproducible {
			a.judgeCreated(images)
		}
		a.judgeConfigs(images)
	}
}

func (a *auditor) judgeSizes(images []*Node) {
	sorted := slices.SortedFunc(slices.Values(images), func(x, y *Node) int { return cmp.Compare(x.TotalSize, y.TotalSize) })
	middle := sorted[(len(sorted)-1)/2]
	for _, n := range images {
		if n.TotalSize-middle.TotalSize > sizeFloor && n.TotalSize > sizeRatio*middle.TotalSize {
			a.found.add(about(n, "size-divergence", "it has %d bytes, %s has %d", n.TotalSize, middle.Platform, middle.TotalSize))
		}
		if middle.TotalSize-n.TotalSize > sizeFloor && middle.TotalSize > sizeRatio*n.TotalSize {
			a.found.add(about(n, "size-divergence", "it has only %d bytes, %s has %d", n.TotalSize, middle.Platform, middle.TotalSize))
		}
	}
	least := slices.MinFunc(images, func(x, y *Node) int { return cmp.Compare(len(x.Layers), len(y.Layers)) })
	most := slices.MaxFunc(images, func(x, y *Node) int { return cmp.Compare(len(x.Layers), len(y.Layers)) })
	if len(most.Layers)-len(least.Layers) >= layerFloor && len(most.Layers) > layerRatio*len(least.Layers) {
		a.found.add(about(most, "layer-divergence", "it has %d layers, %s has %d", len(most.Layers), least.Platform, len(least.Layers)))
	}
}

func (a *auditor) judgeCreated(images []*Node) {
	var oldest, newest *Node
	for _, n := range images {
		if n.Config.Created == nil {
			continue
		}
		if oldest == nil || n.Config.Created.Before(*oldest.Config.Created) {
			oldest = n
		}
		if newest == nil || n.Config.Created.After(*newest.Config.Created) {
			newest = n
		}
	}
	if oldest == nil {
		return
	}
	if gap := newest.Config.Created.Sub(*oldest.Config.Created); gap > createdGap {
		a.found.add(about(oldest, "created-skew", "it was built %s before %s (%s and %s)", gap.Round(time.Hour), newest.Platform,
			oldest.Config.Created.UTC().Format(time.DateOnly), newest.Config.Created.UTC().Format(time.DateOnly)))
	}
}

// judgeConfigs compares each image's config with the first one's.
func (a *auditor) judgeConfigs(images []*Node) {
	one := images[0]
	for _, n := range images[1:] {
		c, d := one.Config, n.Config
		var differ []string
		note := func(what string, same bool, x, y any) {
			if !same {
				differ = append(differ, fmt.Sprintf("%s: %q here, %q in %s", what, fmt.Sprint(y), fmt.Sprint(x), one.Platform))
			}
		}
		note("entrypoint", slices.Equal(c.Entrypoint, d.Entrypoint), c.Entrypoint, d.Entrypoint)
		note("cmd", slices.Equal(c.Cmd, d.Cmd), c.Cmd, d.Cmd)
		note("user", c.User == d.User, c.User, d.User)
		note("working directory", c.WorkingDir == d.WorkingDir, c.WorkingDir, d.WorkingDir)
		note("ports", slices.Equal(c.Ports, d.Ports), c.Ports, d.Ports)
		keys := func(env []string) (out []string) {
			for _, e := range env {
				key, _, _ := strings.Cut(e, "=")
				out = append(out, key)
			}
			slices.Sort(out)
			return out
		}
		// Values hold paths and checksums of each platform's own files.
		note("env", slices.Equal(keys(c.Env), keys(d.Env)), keys(c.Env), keys(d.Env))
		x, y := slices.Sorted(maps.Keys(c.Labels)), slices.Sorted(maps.Keys(d.Labels))
		note("labels", slices.Equal(x, y), x, y)
		if len(differ) > 0 {
			f := about(n, "config-divergence", "its config differs from that of %s", one.Platform)
			f.Evidence = differ
			a.found.add(f)
		}
	}
}
