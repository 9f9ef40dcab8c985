package audit

import (
	"fmt"
	"maps"
	"slices"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// walkNodes calls f for a node and all below it.
func walkNodes(n *Node, f func(*Node)) {
	f(n)
	for i := range n.Children {
		walkNodes(&n.Children[i], f)
	}
}

// judgeGraph says what could not be read, and what is no image.
func (a *auditor) judgeGraph() {
	walkNodes(&a.tree.Node, func(n *Node) {
		if n.Problem != "" {
			f := about(n, n.Check, "%s: %s", n.Name, n.Problem)
			if a.partial() && (n.Check == "missing-manifest" || n.Check == "missing-config") {
				// docker save writes the whole index, and of the images those
				// that were pulled.
				f.Severity = Note
				f.Message = fmt.Sprintf("%s is not in this archive", n.Name)
			}
			a.found.add(f)
			return
		}
		if n.Kind == KindArtifact {
			id := "not-an-image"
			if n.MediaType == mediaTypeSchema1 || n.MediaType == mediaTypeSchema1Signed {
				id = "schema1"
			}
			a.found.add(about(n, id, "it is a %s", n.Name))
		}
		if len(n.Layers) > maxLayers {
			a.found.add(about(n, "layer-limit", "it has %d layers, more than the %d that are read", len(n.Layers), maxLayers))
		}
	})
	if a.tree.Kind == KindIndex && a.tree.Problem == "" && !holds(&a.tree.Node, KindImage) {
		what := "it has no entry at all"
		if len(a.tree.Children) > 0 {
			what = fmt.Sprintf("none of its %d entries is an image", len(a.tree.Children))
		}
		if !holds(&a.tree.Node, KindArtifact) || holds(&a.tree.Node, KindAttestation) {
			a.found.add(about(&a.tree.Node, "empty-index", "%s", what))
		}
	}
}

// partial reports whether the source is a file or directory that may hold some
// of the images that its index names, and holds one.
func (a *auditor) partial() bool {
	switch a.source.(type) {
	case *archive, layoutSource:
		return slices.ContainsFunc(a.tree.Images(), func(n *Node) bool { return n.Problem == "" && n.Config != nil })
	}
	return false
}

// holds tells whether a node of that kind is below n.
func holds(n *Node, kind Kind) bool {
	return slices.ContainsFunc(n.Children, func(c Node) bool { return c.Kind == kind || holds(&c, kind) })
}

// judgeMediaTypes finds Docker's and OCI's formats in one index.
func (a *auditor) judgeMediaTypes() {
	docker, oci := 0, 0
	count := func(mediaType string) {
		switch mediaType {
		case mediaTypeDockerList, mediaTypeDockerManifest:
			docker++
		case ocispecs.MediaTypeImageIndex, ocispecs.MediaTypeImageManifest:
			oci++
		}
	}
	walkNodes(&a.tree.Node, func(n *Node) {
		if n.Kind == KindIndex || n.Kind == KindImage {
			count(n.MediaType)
		}
	})
	if docker > 0 && oci > 0 {
		a.found.add(about(&a.tree.Node, "media-types", "%d of its manifests have Docker's media types and %d have OCI's; some registries refuse that", docker, oci))
	}
}

// judgeAnnotations compares the index's annotations with those wanted.
func (a *auditor) judgeAnnotations() {
	n := &a.tree.Node
	if n.Kind != KindIndex || n.Problem != "" {
		return
	}
	if w := a.options.Want; w != nil && len(w.Annotations) > 0 {
		for _, key := range slices.Sorted(maps.Keys(w.Annotations)) {
			want := w.Annotations[key]
			got, ok := n.Annotations[key]
			f := about(n, "index-annotations", "the annotation %q is missing", key)
			f.Severity = Error
			switch {
			case !ok:
				a.found.add(f)
			case got != want:
				f.Message = fmt.Sprintf("the annotation %q is %q, not %q", key, got, want)
				a.found.add(f)
			}
		}
		return
	}
	if n.MediaType == ocispecs.MediaTypeImageIndex && len(n.Annotations) == 0 && holds(n, KindImage) {
		a.found.add(about(n, "index-annotations", "the index has no annotations, and GitHub's registry reads the description, source and licence from there"))
	}
}

// judgeDrift compares what the reference names with what was recorded.
func (a *auditor) judgeDrift() {
	w := a.options.Want
	if w == nil {
		return
	}
	if w.Digest != "" && w.Digest != a.tree.Digest {
		f := about(&a.tree.Node, "tag-drift", "it was %s when it was released and is %s now", w.Digest, a.tree.Digest)
		a.found.add(f)
	}
	for _, n := range a.tree.Images() {
		if was := w.Children[n.Platform]; was != "" && was != n.Digest {
			a.found.add(about(n, "tag-drift", "its image was %s when it was released and is %s now", was, n.Digest))
		}
	}
}
