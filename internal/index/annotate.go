package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// Annotate writes annotations and overrides into the draft of a target. It
// starts from the index as Assemble made it, so to run it again, with the same
// or other annotations, gives what one run gives. Annotations of the manifest
// level must be in the images already and are only compared. An override that
// contradicts an image's config is a PlatformError, unless it may repair. What
// was written is read back and compared too.
func Annotate(dir, target string, annotations []Annotation, overrides []Override) (*Draft, error) {
	d, err := Open(dir, target)
	if err != nil {
		return nil, err
	}
	base, err := d.store.blob(d.base)
	if err != nil {
		return nil, err
	}
	d.Index = ocispecs.Index{}
	if err := json.Unmarshal(base, &d.Index); err != nil {
		return nil, d.store.damaged("the assembled index", err)
	}
	d.Descriptor.Annotations = nil
	d.forgetRepairs()
	var blobs [][]byte
	for _, o := range overrides {
		made, err := d.override(o)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, made...)
	}
	for _, a := range annotations {
		if err := d.annotate(a); err != nil {
			return nil, err
		}
	}
	if err := d.save(blobs...); err != nil {
		return nil, err
	}
	written, err := Open(dir, target)
	if err != nil {
		return nil, err
	}
	for _, a := range lastOf(annotations) {
		if err := written.compare(a); err != nil {
			return nil, err
		}
	}
	if err := written.comparePlatforms(d.Index.Manifests); err != nil {
		return nil, err
	}
	return written, nil
}

func (d *Draft) annotate(a Annotation) error {
	wrap := func(err error) error {
		return fmt.Errorf("annotating target %q with %s:%s: %w", d.Target, a.Level, a.Key, err)
	}
	if d.Index.MediaType == oci.MediaTypeDockerManifestList {
		return wrap(errors.New("a manifest list of Docker's has no place for annotations; set media_types = \"oci\", or remove it"))
	}
	switch a.Level {
	case LevelIndex:
		set(&d.Index.Annotations, a)
	case LevelIndexDescriptor:
		switch a.Key {
		case ocispecs.AnnotationRefName, annotationBase, annotationSources, annotationRepaired, annotationRefs, annotationPlain:
			return wrap(errors.New("the draft needs this key itself; use another"))
		}
		set(&d.Descriptor.Annotations, a)
	case LevelManifestDescriptor:
		matched, err := d.matching(a.Platform)
		if err != nil {
			return wrap(err)
		}
		for _, i := range matched {
			set(&d.Index.Manifests[i].Annotations, a)
		}
	case LevelManifest:
		if _, err := d.matching(a.Platform); err != nil {
			return wrap(err)
		}
	default:
		return wrap(fmt.Errorf("there is no level %q", a.Level))
	}
	return nil
}

func set(annotations *map[string]string, a Annotation) {
	if *annotations == nil {
		*annotations = map[string]string{}
	}
	(*annotations)[a.Key] = a.Value
}

// matching returns the positions of the images for a platform, of all of them
// for nil. One that is not there is an error.
func (d *Draft) matching(p *ocispecs.Platform) ([]int, error) {
	var found []int
	var have []string
	for i, desc := range d.Index.Manifests {
		if isAttestation(desc) || desc.Platform == nil {
			continue
		}
		have = append(have, format(*desc.Platform))
		if p == nil || platforms.Format(platforms.Normalize(*desc.Platform)) == platforms.Format(platforms.Normalize(*p)) &&
			(p.OSVersion == "" || p.OSVersion == desc.Platform.OSVersion) {
			found = append(found, i)
		}
	}
	if len(found) == 0 && p != nil {
		return nil, fmt.Errorf("the index has no platform %q (it has %q)", format(*p), have)
	}
	return found, nil
}

// lastOf drops annotations that a later one of the same place replaces, the
// way they were written.
func lastOf(annotations []Annotation) []Annotation {
	var last []Annotation
	for i, a := range annotations {
		replaced := slices.ContainsFunc(annotations[i+1:], func(b Annotation) bool {
			return a.Level == b.Level && a.Key == b.Key &&
				(b.Platform == nil || a.Platform == nil || format(*a.Platform) == format(*b.Platform))
		})
		if !replaced {
			last = append(last, a)
		}
	}
	return last
}

// compare looks for an annotation in the bytes that were written.
func (d *Draft) compare(a Annotation) error {
	check := func(where string, have map[string]string, next string) error {
		if value, ok := have[a.Key]; !ok || value != a.Value {
			return fmt.Errorf("reading back annotation %s:%s of target %q: %s has %q, not %q; %s", a.Level, a.Key, d.Target, where, value, a.Value, next)
		}
		return nil
	}
	switch a.Level {
	case LevelIndex:
		return check("the index", d.Index.Annotations, "run annotate again")
	case LevelIndexDescriptor:
		return check("the layout", d.Descriptor.Annotations, "run annotate again")
	}
	matched, err := d.matching(a.Platform)
	if err != nil {
		return err
	}
	for _, i := range matched {
		desc := d.Index.Manifests[i]
		name := format(*desc.Platform)
		if a.Level == LevelManifestDescriptor {
			if err := check("the descriptor of "+name, desc.Annotations, "run annotate again"); err != nil {
				return err
			}
			continue
		}
		raw, err := d.Blob(desc)
		if err != nil {
			return err
		}
		var m ocispecs.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return d.store.damaged("the manifest of "+name, err)
		}
		if err := check("the image of "+name, m.Annotations, "it was built without it: run build again"); err != nil {
			return err
		}
	}
	return nil
}

// comparePlatforms looks for the platform of each descriptor in what was
// written.
func (d *Draft) comparePlatforms(want []ocispecs.Descriptor) error {
	if len(want) != len(d.Index.Manifests) {
		return fmt.Errorf("reading back the draft of target %q: it has %d manifests, not %d; run annotate again", d.Target, len(d.Index.Manifests), len(want))
	}
	for i, have := range d.Index.Manifests {
		if !reflect.DeepEqual(have.Platform, want[i].Platform) || have.Digest != want[i].Digest {
			return fmt.Errorf("reading back the draft of target %q: manifest %d is %s for %v, not %s for %v; run annotate again", d.Target, i+1, have.Digest, have.Platform, want[i].Digest, want[i].Platform)
		}
	}
	return nil
}
