package device

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// WipeRequest says what is to go from a device.
type WipeRequest struct {
	// Repositories whose images go, every tag and digest of them, with their
	// registry host: "docker.io/acme/app".
	Repositories []string
	// All takes every image, whatever its repository.
	All bool
	// DryRun lists and removes nothing.
	DryRun bool
	// Stop ends and removes the containers that use such an image.
	Stop bool
}

// WipeReport says what went, or would go.
type WipeReport struct {
	Images []WipedImage `json:"images"`
	// Containers are those of ours that were removed.
	Containers []string `json:"containers,omitempty"`
	// Bytes is the size of the images that go as a whole. Layers that others
	// share stay.
	Bytes int64 `json:"bytes"`
}

// WipedImage is one image on a device.
type WipedImage struct {
	ID string `json:"id"`
	// Names are those that go: repository:tag and repository@digest.
	Names []string `json:"names"`
	Bytes int64    `json:"bytes"`
	// UsedBy are containers that keep the image on the device.
	UsedBy []string `json:"usedBy,omitempty"`
	// Problem says why it is still there.
	Problem string `json:"problem,omitempty"`
	// Removed is false for what was kept, or in a dry run.
	Removed bool `json:"removed"`

	holds []string // names that runs gave it
}

// listScript prints every image and every container, one JSON array each.
const listScript = `
date +%s
printf '\n%s images\n' "$MARK"
ids=$(@RT@ image ls -a -q --no-trunc | sort -u)
[ -n "$ids" ] && @RT@ image inspect $ids
printf '\n%s containers\n' "$MARK"
ids=$(@RT@ ps -a -q --no-trunc)
[ -n "$ids" ] && @RT@ container inspect $ids
exit 0
`

// Wipe removes images, and the containers that this package left. Images that
// a container of somebody else's uses are named and kept, unless Stop is set.
func (d *Device) Wipe(ctx context.Context, req WipeRequest) (*WipeReport, error) {
	f, err := d.Probe(ctx)
	if err != nil {
		return nil, err
	}
	report := &WipeReport{Images: []WipedImage{}}
	if !req.DryRun {
		if report.Containers, err = d.Sweep(ctx); err != nil {
			return nil, err
		}
	}
	bounded, cancel := context.WithTimeoutCause(ctx, 8*d.connectTimeout(), errNoAnswer)
	defer cancel()
	o, err := d.steady(bounded, strings.ReplaceAll(listScript, "@RT@", f.command()))
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	imagesJSON, containersJSON := o.parts("containers")
	clock, imagesJSON := outcome{stdout: imagesJSON, mark: o.mark}.parts("images")
	now, err := strconv.ParseInt(strings.TrimSpace(string(clock)), 10, 64)
	if err != nil {
		return nil, d.explain(ctx, fmt.Errorf("reading the device's clock: %w", err))
	}
	live := d.live()
	images, err := readImages(imagesJSON)
	if err == nil {
		err = noteUse(images, containersJSON)
	}
	if err != nil {
		return nil, d.explain(ctx, fmt.Errorf("listing the images: %w", err))
	}
	for i := range images {
		image := &images[i]
		all := len(image.Names)
		if !req.All {
			image.Names = slices.DeleteFunc(image.Names, func(n string) bool { return !within(n, req.Repositories) })
			if len(image.Names) == 0 {
				continue
			}
		}
		if len(image.Names) < all {
			image.Bytes = 0 // another repository keeps it
		}
		if !req.Stop && slices.ContainsFunc(image.holds, func(n string) bool { return d.inUse(n, live, now) }) {
			image.Problem, image.Bytes = "kept: another run has just pulled it", 0
			report.Images = append(report.Images, *image)
			continue
		}
		if !req.DryRun && (len(image.UsedBy) == 0 || req.Stop) {
			if err := d.remove(bounded, f, image, req); err != nil {
				return report, d.explain(ctx, err)
			}
		}
		if len(image.UsedBy) == 0 || req.Stop {
			report.Bytes += image.Bytes
		}
		report.Images = append(report.Images, *image)
	}
	return report, nil
}

func (d *Device) remove(ctx context.Context, f *Facts, image *WipedImage, req WipeRequest) error {
	var script strings.Builder
	if len(image.UsedBy) > 0 {
		fmt.Fprintf(&script, "%s >/dev/null || exit\n", f.command(append([]string{"rm", "-f", "-v"}, image.UsedBy...)...))
	}
	names := slices.Concat(image.Names, image.holds)
	if req.All || len(names) == 0 {
		names = []string{"-f", image.ID}
	}
	fmt.Fprintf(&script, "%s >/dev/null\n", f.command(append([]string{"rmi"}, names...)...))
	o, err := d.steady(ctx, script.String())
	if err != nil {
		return err
	}
	text := strings.ToLower(string(o.stderr))
	// With the last tag the digests may have gone by themselves.
	image.Removed = o.code == 0 || strings.Contains(text, "no such image") || strings.Contains(text, "image not known")
	if !image.Removed {
		image.Problem = lastLine(string(o.stderr))
	}
	return nil
}

func readImages(raw []byte) ([]WipedImage, error) {
	var list []struct {
		ID          string `json:"Id"`
		RepoTags    []string
		RepoDigests []string
		Size        int64
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	out := make([]WipedImage, 0, len(list))
	for _, i := range list {
		w := WipedImage{ID: identity(i.ID).String(), Bytes: i.Size}
		for _, n := range append(i.RepoTags, i.RepoDigests...) {
			switch {
			case strings.Contains(n, "<none>"):
			case isHold(n):
				w.holds = append(w.holds, n)
			case !strings.HasPrefix(n, holdRepository+"@"): // podman gives digests to all names
				w.Names = append(w.Names, n)
			}
		}
		out = append(out, w)
	}
	return out, nil
}

func noteUse(images []WipedImage, raw []byte) error {
	var list []struct {
		Name  string
		Image string
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, c := range list {
		for i := range images {
			if identity(c.Image).String() == images[i].ID {
				images[i].UsedBy = append(images[i].UsedBy, strings.TrimPrefix(c.Name, "/"))
			}
		}
	}
	return nil
}

// within says whether a name as the runtime prints it, with or without
// docker.io, is of one of the repositories.
func within(name string, repositories []string) bool {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	return slices.Contains(repositories, named.Name())
}
