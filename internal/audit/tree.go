// Package audit reads an image graph, from a draft or any registry, into a
// tree of plain values that says what each part is.
package audit

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kind is what a node of the tree is.
type Kind string

// The kinds of nodes.
const (
	KindIndex       Kind = "index"       // an OCI index or a Docker manifest list
	KindImage       Kind = "image"       // a manifest with an image config
	KindAttestation Kind = "attestation" // BuildKit's SBOM and provenance of an image
	KindArtifact    Kind = "artifact"    // anything else that lies in a registry
)

// Tree is what a reference names. Its JSON form is what `mage inspect -json`
// prints.
//
// All strings are as the registry gave them; only the JSON form is safe for a
// terminal. To show one otherwise, pass it through Printable.
type Tree struct {
	// Reference is what was asked for: a reference, or the target of a draft.
	Reference string `json:"reference"`
	Node
}

// Node is an index, an image, an attestation or another artifact.
type Node struct {
	// Kind says which.
	Kind Kind `json:"kind"`
	// Name says in words what it is: "linux/arm/v6", "SBOM and provenance of
	// linux/arm64", "Helm chart".
	Name string `json:"name"`
	// MediaType, Digest and Size (bytes) are those of the manifest or index.
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	// ArtifactType is the manifest's, or its config's media type where that
	// is not an image's.
	ArtifactType string `json:"artifactType,omitempty"`
	// Platform is what the descriptor in the index claims, normalised; for an
	// image without an index, what its config says. Empty for all else.
	Platform string `json:"platform,omitempty"`
	// Stated is the platform as the descriptor in the index has it, nil if it
	// has none.
	Stated *ocispecs.Platform `json:"stated,omitempty"`
	// OSVersion and OSFeatures are os.version and os.features of the
	// descriptor.
	OSVersion  string   `json:"osVersion,omitempty"`
	OSFeatures []string `json:"osFeatures,omitempty"`
	// Annotations are in the manifest or index itself.
	Annotations map[string]string `json:"annotations,omitempty"`
	// DescriptorAnnotations are on the descriptor that names it.
	DescriptorAnnotations map[string]string `json:"descriptorAnnotations,omitempty"`
	// Subject is the digest this is about: the image of an attestation, or
	// the OCI subject of an artifact.
	Subject digest.Digest `json:"subject,omitempty"`
	// Config is what the image config says; nil for all but images.
	Config *Config `json:"config,omitempty"`
	// Layers are in order, the base first.
	Layers []Layer `json:"layers,omitempty"`
	// TotalSize is the bytes a client transfers for an image: manifest,
	// config and layers, as the manifest states them.
	TotalSize int64 `json:"totalSize,omitempty"`
	// Predicates are the in-toto predicate types of an attestation,
	// "https://spdx.dev/Document".
	Predicates []string `json:"predicates,omitempty"`
	// FalseClaim says why an entry that calls itself an attestation is none; it
	// is read and judged as what it is.
	FalseClaim string `json:"falseClaim,omitempty"`
	// Problem says why this node could not be read; its other fields are then
	// those of the descriptor that names it.
	Problem string `json:"problem,omitempty"`
	// Check is the id of the check that Problem belongs to.
	Check string `json:"check,omitempty"`
	// Children are the nodes of an index, in its order. An attestation stands
	// beside its image.
	Children []Node `json:"children,omitempty"`
}

// Config is what matters of an image config.
type Config struct {
	// Digest and Size (bytes) are those of the config blob.
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// OS, Architecture, Variant and OSVersion are as written, not normalised.
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
	OSVersion    string `json:"osVersion,omitempty"`
	// Created is when the image was made; nil if it does not say.
	Created *time.Time `json:"created,omitempty"`
	// Entrypoint and Cmd make up the command, User is who runs it, Env its
	// environment as KEY=VALUE.
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	User       string            `json:"user,omitempty"`
	Env        []string          `json:"env,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	Ports      []string          `json:"ports,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	// Healthcheck is the command that Docker tests a container with, without
	// CMD or CMD-SHELL in front.
	Healthcheck []string `json:"healthcheck,omitempty"`
	// DiffIDs are the digests of the layers, unpacked.
	DiffIDs []digest.Digest `json:"diffIDs,omitempty"`
}

// Layer is one layer, or one blob of an artifact.
type Layer struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// URLs are other places it is fetched from.
	URLs []string `json:"urls,omitempty"`
}

// MarshalJSON implements json.Marshaler. Control characters that JSON itself
// would let through to the terminal are escaped; the values stay the same.
func (t Tree) MarshalJSON() ([]byte, error) {
	type plain Tree
	raw, err := json.Marshal(plain(t))
	if err != nil {
		return nil, err
	}
	return escapeJSON(raw), nil
}

// Images returns the images of the tree, in order, at any depth.
func (n *Node) Images() []*Node {
	if n.Kind == KindImage {
		return []*Node{n}
	}
	var images []*Node
	for i := range n.Children {
		images = append(images, n.Children[i].Images()...)
	}
	return images
}
