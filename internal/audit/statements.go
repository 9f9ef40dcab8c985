package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// statementLimit is the largest SBOM or provenance that is read, in bytes.
const statementLimit = 64 << 20

// Statement is an SBOM or provenance of one image.
type Statement struct {
	// Platform is the image's.
	Platform string `json:"platform"`
	// Predicate is the in-toto predicate type.
	Predicate string `json:"predicateType"`
	// Statement is the in-toto statement as it was written.
	Statement json.RawMessage `json:"statement"`
}

// SBOM and Provenance are the kinds of statements by their names.
const (
	SBOM       = "SBOM"
	Provenance = "provenance"
)

// Statements reads the attestations of a kind, SBOM or Provenance, in the
// order of the images. None is not an error.
func Statements(ctx context.Context, source LayerSource, ref string, tree *Tree, kind string) ([]Statement, error) {
	platform := map[string]string{}
	for _, n := range tree.Images() {
		platform[n.Digest.String()] = n.Platform
	}
	var out []Statement
	var failed error
	walkNodes(&tree.Node, func(n *Node) {
		if n.Kind != KindAttestation || failed != nil {
			return
		}
		for _, layer := range n.Layers {
			predicate := layer.Annotations[annotationPredicate]
			if predicateNames([]string{predicate}) != kind {
				continue
			}
			raw, err := readStatement(ctx, source, ref, n, layer)
			if err != nil {
				failed = fmt.Errorf("reading the %s: %w", n.Name, err)
				return
			}
			out = append(out, Statement{Platform: platform[n.Subject.String()], Predicate: predicate, Statement: raw})
		}
	})
	return out, failed
}

func readStatement(ctx context.Context, source LayerSource, ref string, n *Node, layer Layer) (json.RawMessage, error) {
	body, err := source.OpenLayer(ctx, ref, n.Digest, ocispecs.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, statementLimit+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > statementLimit {
		return nil, fmt.Errorf("it is larger than %d bytes", int64(statementLimit))
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("%s is no JSON", layer.Digest)
	}
	return raw, nil
}
