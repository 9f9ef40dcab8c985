package index

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
)

// Difference is what a reference would change to if it named a draft.
type Difference struct {
	Reference string `json:"reference"`
	// Published is what the reference names now; "" for nothing.
	Published digest.Digest `json:"published,omitempty"`
	Draft     digest.Digest `json:"draft"`
	// MediaType is set if it changes.
	MediaType *Change `json:"mediaType,omitempty"`
	// Added and Removed are the images of platforms that only one of them has,
	// Changed those that both have and are not the same.
	Added   []DifferentChild `json:"added,omitempty"`
	Removed []DifferentChild `json:"removed,omitempty"`
	Changed []ChangedChild   `json:"changed,omitempty"`
	// Order is set if the platforms that both have stand in another order.
	Order *Change `json:"order,omitempty"`
	// Annotations are those of the index.
	Annotations []Change `json:"annotations,omitempty"`
}

// Same tells whether the reference names the draft already.
func (d *Difference) Same() bool { return d.Published == d.Draft }

// DifferentChild is an image that only one of two indexes has.
type DifferentChild struct {
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"`
}

// ChangedChild is a platform whose image or descriptor differs.
type ChangedChild struct {
	Platform string        `json:"platform"`
	From     digest.Digest `json:"from"`
	To       digest.Digest `json:"to"`
	// Changes are the fields that differ, sorted: those of the config
	// ("entrypoint", "env PATH", "user", "port 80/tcp", "label k", "created", …),
	// "annotation k" of the manifest, "descriptor annotation k" and
	// "platform" of the descriptor, and "attestations" by their digests.
	Changes []Change `json:"changes,omitempty"`
	// Layers is set if they differ.
	Layers *LayerChange `json:"layers,omitempty"`
}

// Change is a value that differs. An empty one is not there.
type Change struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// LayerChange says how far the layers of two images are the same.
type LayerChange struct {
	// Common is how many are the same, from the lowest on.
	Common int `json:"common"`
	// From and To are how many there are, the sizes their sum in bytes.
	From     int   `json:"from"`
	To       int   `json:"to"`
	FromSize int64 `json:"fromSize"`
	ToSize   int64 `json:"toSize"`
}

// Diff compares a draft with what a reference names in its registry now.
// Configs are read for those platforms alone whose images differ.
func Diff(ctx context.Context, client *registry.Client, d *Draft, ref string) (*Difference, error) {
	diff := &Difference{Reference: ref, Draft: d.Descriptor.Digest}
	desc, raw, err := client.Manifest(ctx, ref)
	if err != nil && !registry.IsNotFound(err) {
		return nil, fmt.Errorf("comparing the draft of target %q: %w", d.Target, err)
	}
	var published ocispecs.Index
	if err == nil {
		diff.Published = desc.Digest
		if published, err = asIndex(ctx, client, ref, desc, raw); err != nil {
			return nil, fmt.Errorf("comparing the draft of target %q: %w", d.Target, err)
		}
		if desc.MediaType != d.Descriptor.MediaType {
			diff.MediaType = &Change{Field: "media type", From: desc.MediaType, To: d.Descriptor.MediaType}
		}
		diff.Annotations = changes("annotation ", published.Annotations, d.Index.Annotations)
	}
	was, now := listed(published), listed(d.Index)
	var pairs [][2]entry
	for _, to := range now {
		i := slices.IndexFunc(was, func(from entry) bool { return from.platform == to.platform })
		if i < 0 {
			diff.Added = append(diff.Added, DifferentChild{to.platform, to.desc.Digest})
			continue
		}
		pairs = append(pairs, [2]entry{was[i], to})
	}
	for _, from := range was {
		if !slices.ContainsFunc(now, func(to entry) bool { return from.platform == to.platform }) {
			diff.Removed = append(diff.Removed, DifferentChild{from.platform, from.desc.Digest})
		}
	}
	diff.Order = order(pairs)
	changed := make([]*ChangedChild, len(pairs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for i, pair := range pairs {
		g.Go(func() error {
			var err error
			changed[i], err = d.compareChild(gctx, client, ref, pair[0], pair[1])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("comparing the draft of target %q with %q: %w", d.Target, ref, err)
	}
	for _, c := range changed {
		if c != nil {
			diff.Changed = append(diff.Changed, *c)
		}
	}
	return diff, nil
}

// asIndex takes a single image for an index of one.
func asIndex(ctx context.Context, client *registry.Client, ref string, desc ocispecs.Descriptor, raw []byte) (ocispecs.Index, error) {
	var idx ocispecs.Index
	if oci.IsIndex(desc.MediaType) {
		if err := json.Unmarshal(raw, &idx); err != nil {
			return idx, fmt.Errorf("reading index %q: %w", ref, err)
		}
		return idx, nil
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(raw, &m); err != nil || !oci.IsManifest(desc.MediaType) {
		return idx, nil // something else altogether, which shows by its media type
	}
	config, err := client.Blob(ctx, ref, m.Config, configLimit)
	if err != nil {
		return idx, err
	}
	if p, err := configPlatform(config); err == nil {
		desc.Platform = &p
		idx.Manifests = []ocispecs.Descriptor{desc}
	}
	return idx, nil
}

// entry is an image of an index with what is attested about it.
type entry struct {
	position     int
	platform     string
	desc         ocispecs.Descriptor
	attestations []string
}

func listed(idx ocispecs.Index) []entry {
	var entries []entry
	for _, desc := range idx.Manifests {
		if isAttestation(desc) {
			continue
		}
		e := entry{position: len(entries), platform: "unknown", desc: desc}
		if desc.Platform != nil {
			e.platform = format(*desc.Platform)
		}
		for _, att := range idx.Manifests {
			if isAttestation(att) && att.Annotations[oci.AnnotationReferenceDigest] == desc.Digest.String() {
				e.attestations = append(e.attestations, att.Digest.String())
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// order compares the order of what two indexes have in common; pairs are in
// that of the second.
func order(pairs [][2]entry) *Change {
	var from, to []string
	positions := slices.Clone(pairs)
	slices.SortStableFunc(positions, func(a, b [2]entry) int { return a[0].position - b[0].position })
	for i := range pairs {
		from = append(from, positions[i][0].platform)
		to = append(to, pairs[i][1].platform)
	}
	if slices.Equal(from, to) {
		return nil
	}
	return &Change{Field: "order", From: strings.Join(from, ", "), To: strings.Join(to, ", ")}
}

// compareChild returns nil if nothing differs.
func (d *Draft) compareChild(ctx context.Context, client *registry.Client, ref string, from, to entry) (*ChangedChild, error) {
	c := &ChangedChild{Platform: to.platform, From: from.desc.Digest, To: to.desc.Digest}
	c.Changes = changes("descriptor annotation ", from.desc.Annotations, to.desc.Annotations)
	c.add("platform", platformText(from.desc.Platform), platformText(to.desc.Platform))
	c.add("media type", from.desc.MediaType, to.desc.MediaType)
	c.add("attestations", strings.Join(from.attestations, " "), strings.Join(to.attestations, " "))
	if c.From != c.To && oci.IsManifest(from.desc.MediaType) {
		old, oldConfig, err := published(ctx, client, ref, from.desc.Digest)
		if err != nil {
			return nil, err
		}
		var m ocispecs.Manifest
		raw, err := d.Blob(to.desc)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, d.store.damaged("manifest "+c.To.String(), err)
		}
		if raw, err = d.Blob(m.Config); err != nil {
			return nil, err
		}
		var config ocispecs.Image
		if err := json.Unmarshal(raw, &config); err != nil {
			return nil, d.store.damaged("config "+m.Config.Digest.String(), err)
		}
		c.Changes = append(c.Changes, changes("annotation ", old.Annotations, m.Annotations)...)
		c.Changes = append(c.Changes, changes("", fields(oldConfig), fields(config))...)
		c.Layers = layerChange(old.Layers, m.Layers)
	}
	if c.From == c.To && len(c.Changes) == 0 {
		return nil, nil
	}
	slices.SortFunc(c.Changes, func(a, b Change) int { return strings.Compare(a.Field, b.Field) })
	return c, nil
}

func (c *ChangedChild) add(field, from, to string) {
	if from != to {
		c.Changes = append(c.Changes, Change{field, from, to})
	}
}

func platformText(p *ocispecs.Platform) string {
	if p == nil {
		return ""
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return ""
	}
	return string(raw)
}

// published reads an image of the registry with its config.
func published(ctx context.Context, client *registry.Client, ref string, d digest.Digest) (m ocispecs.Manifest, config ocispecs.Image, err error) {
	at, err := registry.At(ref, d)
	if err != nil {
		return m, config, err
	}
	_, raw, err := client.Manifest(ctx, at)
	if err != nil {
		return m, config, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, config, fmt.Errorf("reading manifest %q: %w", at, err)
	}
	if raw, err = client.Blob(ctx, at, m.Config, configLimit); err != nil {
		return m, config, err
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return m, config, fmt.Errorf("reading the config of %q: %w", at, err)
	}
	return m, config, nil
}

// fields are the values of a config that people compare, by name.
func fields(image ocispecs.Image) map[string]string {
	c := image.Config
	f := map[string]string{
		"entrypoint": list(c.Entrypoint), "cmd": list(c.Cmd), "user": c.User,
		"working directory": c.WorkingDir, "stop signal": c.StopSignal, "author": image.Author,
	}
	if image.Created != nil {
		f["created"] = image.Created.UTC().Format(time.RFC3339Nano)
	}
	for _, variable := range c.Env {
		name, value, _ := strings.Cut(variable, "=")
		f["env "+name] = strconv.Quote(value)
	}
	for port := range c.ExposedPorts {
		f["port "+port] = "exposed"
	}
	for volume := range c.Volumes {
		f["volume "+volume] = "declared"
	}
	for key, value := range c.Labels {
		f["label "+key] = strconv.Quote(value)
	}
	return f
}

func list(words []string) string {
	if len(words) == 0 {
		return ""
	}
	raw, err := json.Marshal(words)
	if err != nil {
		return ""
	}
	return string(raw)
}

// changes compares two maps; the names of what differs are sorted.
func changes(prefix string, from, to map[string]string) []Change {
	names := maps.Clone(from)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, to)
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if from[name] != to[name] {
			out = append(out, Change{prefix + name, from[name], to[name]})
		}
	}
	return out
}

func layerChange(from, to []ocispecs.Descriptor) *LayerChange {
	c := LayerChange{From: len(from), To: len(to)}
	for c.Common < min(len(from), len(to)) && from[c.Common].Digest == to[c.Common].Digest {
		c.Common++
	}
	if c.Common == c.From && c.Common == c.To {
		return nil
	}
	for _, layer := range from {
		c.FromSize += layer.Size
	}
	for _, layer := range to {
		c.ToSize += layer.Size
	}
	return &c
}
