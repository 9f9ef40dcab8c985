package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// Options say what an audit judges by. The zero value judges an image by what
// it says of itself, layers and all.
type Options struct {
	// Want is what was meant; nil where nobody knows.
	Want *Want
	// Rules are the user's.
	Rules Rules
	// CacheDir keeps what was learnt of layers for further audits; "" keeps
	// nothing. It may be shared by processes and is bounded.
	CacheDir string
	// Jobs is how many layers are read at a time; 0 means 4.
	Jobs int
	// Shallow leaves the layers unread: manifests and configs only.
	Shallow bool
	// Reproducible says that times are not those of the builds
	// (SOURCE_DATE_EPOCH).
	Reproducible bool
	// PageSizes are the pages in bytes that the machines of a platform have,
	// where that is not what its kernels commonly have.
	PageSizes map[string]uint64
	// Related also asks the registry for what is not in the image itself:
	// signatures, and newer versions of base images.
	Related bool
}

// Want is what an image was meant to be.
type Want struct {
	// Platforms must all be there, normalised; Optional may. Others may not.
	// With neither, any may.
	Platforms, Optional []string
	// Annotations must be on the index.
	Annotations map[string]string
	// Digest is what the tag named when it was released, Children what each
	// platform was; "" and missing entries are not compared.
	Digest   digest.Digest
	Children map[string]digest.Digest
	// Signed says that the index and its images are to be signed.
	Signed bool
}

// maxLayers bounds the layers of one image. Runtimes take 127.
const maxLayers = 1000

// Audit reads what ref names in a source, its layers too, and judges it. An
// error means that there is no verdict: the source cannot be used, the
// reference does not exist, or the rules make no sense.
func Audit(ctx context.Context, source LayerSource, ref string, o Options) (*Report, error) {
	compiled, err := o.Rules.compile()
	if err != nil {
		return nil, fmt.Errorf("auditing %q: %w", ref, err)
	}
	tree, err := readTree(ctx, source, ref)
	if err != nil {
		return nil, err
	}
	a := &auditor{source: source, ref: ref, options: o, tree: tree, found: &collector{rules: compiled}}
	a.judgeGraph()
	a.judgePlatforms()
	a.judgeAttestations()
	a.judgeDivergence()
	a.judgeMediaTypes()
	a.judgeAnnotations()
	a.judgeDrift()
	if o.Related {
		if err := a.judgeRelated(ctx); err != nil {
			return nil, fmt.Errorf("auditing %q: %w", ref, err)
		}
	}
	report := &Report{Tree: tree}
	if err := a.judgeLayers(ctx, report); err != nil {
		return nil, fmt.Errorf("auditing %q: %w", ref, err)
	}
	report.Findings = a.found.sorted()
	if report.Findings == nil {
		report.Findings = []Finding{}
	}
	return report, nil
}

type auditor struct {
	source  LayerSource
	ref     string
	options Options
	tree    *Tree
	found   *collector
}

// about begins a finding on one node.
func about(n *Node, id, format string, args ...any) Finding {
	return Finding{ID: id, Platform: n.Platform, Digest: n.Digest, Message: fmt.Sprintf(format, args...)}
}

// outcome is what came of one layer that is not known.
type outcome struct {
	check, problem string
	size           int64 // stated by the source; -1 unknown
	skipped        string
}

// blobOf is a layer with a manifest that names it.
type blobOf struct {
	owner  digest.Digest
	desc   ocispecs.Descriptor
	unpack bool // a file system, not an attestation
}

// judgeLayers reads each distinct layer once and judges each image by its own.
func (a *auditor) judgeLayers(ctx context.Context, report *Report) error {
	images := a.tree.Images()
	report.Images = make([]Image, 0, len(images))
	if a.options.Shallow {
		for _, n := range images {
			report.Images = append(report.Images, Image{Platform: n.Platform, Digest: n.Digest, Incomplete: "its layers were not read"})
		}
		return nil
	}
	s, err := rootfs.OpenStore(a.options.CacheDir)
	if err != nil {
		return err
	}
	defer s.Close()
	l := &layers{source: a.source, ref: a.ref, store: s, inspect: rootfs.NewInspector(s.Dir()), outcomes: map[digest.Digest]*outcome{}}
	if err := l.readAll(ctx, blobs(&a.tree.Node), a.options.Jobs); err != nil {
		return err
	}
	for _, n := range images {
		image, err := a.judgeImage(ctx, n, l)
		if err != nil {
			return err
		}
		report.Images = append(report.Images, image)
	}
	a.judgeAttestationBlobs(l)
	report.Stats = l.stats()
	return nil
}

// blobs lists the distinct layers of a tree, in order.
func blobs(root *Node) []blobOf {
	var out []blobOf
	at := map[digest.Digest]int{}
	var visit func(n *Node)
	visit = func(n *Node) {
		for _, layer := range n.Layers {
			i, seen := at[layer.Digest]
			if !seen {
				i = len(out)
				at[layer.Digest] = i
				out = append(out, blobOf{owner: n.Digest, desc: ocispecs.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, URLs: layer.URLs}})
			}
			out[i].unpack = out[i].unpack || n.Kind == KindImage && len(n.Layers) <= maxLayers
		}
		for i := range n.Children {
			visit(&n.Children[i])
		}
	}
	visit(root)
	return out
}

// layers reads layers and remembers what came of it.
type layers struct {
	source   LayerSource
	ref      string
	store    *rootfs.Store
	inspect  *rootfs.Inspector
	outcomes map[digest.Digest]*outcome
	cached   int
	bytes    int64
}

func (l *layers) stats() Stats {
	return Stats{Layers: len(l.outcomes), Cached: l.cached, Transferred: l.bytes}
}

func (l *layers) readAll(ctx context.Context, all []blobOf, jobs int) error {
	if jobs <= 0 {
		jobs = 4
	}
	for _, b := range all {
		l.outcomes[b.desc.Digest] = &outcome{size: -1}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	known := make([]bool, len(all))
	read := make([]int64, len(all))
	for i, b := range all {
		g.Go(func() (err error) {
			known[i], read[i], err = l.readOne(gctx, b, l.outcomes[b.desc.Digest])
			return err
		})
	}
	err := g.Wait()
	for i := range all {
		l.bytes += read[i]
		if known[i] {
			l.cached++
		}
	}
	return err
}

// readOne makes a layer known, or says in o why it cannot be.
func (l *layers) readOne(ctx context.Context, b blobOf, o *outcome) (known bool, read int64, err error) {
	d := b.desc.Digest
	if err := d.Validate(); err != nil {
		o.check, o.problem = "corrupt", fmt.Sprintf("it has no digest that can be: %v", err)
		return false, 0, nil
	}
	if isForeign(b.desc) {
		// Some registries have it all the same.
		if _, err := l.source.LayerSize(ctx, l.ref, b.owner, b.desc); err != nil {
			if ctx.Err() != nil {
				return false, 0, ctx.Err()
			}
			o.skipped = "it is fetched from elsewhere"
			return false, 0, nil
		}
	}
	if !b.unpack || l.store.Has(d) {
		// Known or not, it may have vanished since.
		o.size, err = l.source.LayerSize(ctx, l.ref, b.owner, b.desc)
		return b.unpack && err == nil, 0, o.blame(ctx, err)
	}
	body, err := l.source.OpenLayer(ctx, l.ref, b.owner, b.desc)
	if err != nil {
		return false, 0, o.blame(ctx, err)
	}
	defer body.Close()
	read, err = l.store.Learn(ctx, d, body, l.inspect)
	if errors.Is(err, rootfs.ErrSource) {
		return false, read, o.blame(ctx, err)
	}
	return false, read, err
}

// blame tells a layer that is bad from a source that cannot be used.
func (o *outcome) blame(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	problem, stop := problemOf(ctx, err)
	if stop == nil {
		o.check, o.problem = missingOr(err, "missing-layer"), problem
	}
	return stop
}

// again reads a layer whose memory was damaged or removed meanwhile.
func (l *layers) again(ctx context.Context, b blobOf) error {
	l.store.Forget(b.desc.Digest)
	_, n, err := l.readOne(ctx, b, l.outcomes[b.desc.Digest])
	l.bytes += n
	return err
}

// isForeign knows layers that are fetched from their URLs alone.
func isForeign(desc ocispecs.Descriptor) bool {
	switch desc.MediaType {
	case ocispecs.MediaTypeImageLayerNonDistributable, ocispecs.MediaTypeImageLayerNonDistributableGzip, ocispecs.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // published images have them
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar":
		return true
	}
	return false
}
