package audit

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/registry"
)

// resolver says what a reference names now. A registry does.
type resolver interface {
	Digest(ctx context.Context, ref string) (digest.Digest, error)
}

// judgeRelated asks the registry for signatures and for newer base images.
func (a *auditor) judgeRelated(ctx context.Context) error {
	r, ok := a.source.(resolver)
	if !ok {
		return nil
	}
	if err := a.judgeSignatures(ctx, r); err != nil {
		return err
	}
	return a.judgeBase(ctx, r)
}

// judgeSignatures compares which of the index and its images are signed.
func (a *auditor) judgeSignatures(ctx context.Context, r resolver) error {
	var unsigned []*Node
	anySigned := false
	nodes := a.tree.Images()
	if a.tree.Kind == KindIndex {
		nodes = append([]*Node{&a.tree.Node}, nodes...)
	}
	for _, n := range nodes {
		signed, err := a.signed(ctx, r, n.Digest)
		if err != nil {
			return err
		}
		if signed {
			anySigned = true
		} else {
			unsigned = append(unsigned, n)
		}
	}
	wanted := a.options.Want != nil && a.options.Want.Signed
	if !anySigned && !wanted {
		return nil
	}
	for _, n := range unsigned {
		f := about(n, "signature-missing", "the %s has no signature", n.Name)
		f.Severity = Note // those who verify by the index do not miss it
		if wanted {
			f.Severity = Error
		} else {
			f.Message += ", others of the same index have"
		}
		a.found.add(f)
	}
	return nil
}

// signed looks for a signature where cosign keeps it: under the tag made of
// the digest, with or without a suffix.
// https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
func (a *auditor) signed(ctx context.Context, r resolver, d digest.Digest) (bool, error) {
	repo, err := registry.Repository(a.ref)
	if err != nil {
		return false, err
	}
	tag := repo + ":" + strings.Replace(d.String(), ":", "-", 1)
	switch _, err := r.Digest(ctx, tag+".sig"); {
	case err == nil:
		return true, nil
	case !isNotFound(err):
		return false, err
	}
	// The fallback of the referrers API is an index of all that refers to it.
	tree, err := readTree(ctx, a.source, tag)
	switch {
	case isNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	found := false
	walkNodes(&tree.Node, func(n *Node) {
		for _, t := range []string{n.ArtifactType, n.Name} {
			found = found || strings.Contains(t, "signature") || strings.Contains(t, "sigstore.bundle") || strings.Contains(t, "cosign")
		}
	})
	return found, nil
}

// judgeBase compares the digests of base images, where the images state them,
// with what the names of the bases mean now.
// https://github.com/opencontainers/image-spec/blob/main/annotations.md
func (a *auditor) judgeBase(ctx context.Context, r resolver) error {
	now := map[string]digest.Digest{}
	for _, n := range a.tree.Images() {
		name, was := n.Annotations[ocispecs.AnnotationBaseImageName], n.Annotations[ocispecs.AnnotationBaseImageDigest]
		if name == "" || was == "" {
			continue
		}
		current, known := now[name]
		if !known {
			var err error
			if current, err = r.Digest(ctx, name); err != nil {
				if ctx.Err() != nil {
					return err
				}
				f := about(n, "base-outdated", "its base image %s cannot be looked up: %v", name, err)
				f.Severity = Note
				a.found.add(f)
			}
			now[name] = current
		}
		if current == "" || current.String() == was {
			continue
		}
		// The name is of an index as a rule, and the digest of it or of the
		// platform's image in it.
		if tree, err := readTree(ctx, a.source, name); err == nil {
			match := false
			walkNodes(&tree.Node, func(c *Node) { match = match || c.Digest.String() == was })
			if match {
				continue
			}
		}
		f := about(n, "base-outdated", "it was built on %s at %s, which is %s now", name, short(digest.Digest(was)), short(current))
		a.found.add(f)
	}
	return nil
}
