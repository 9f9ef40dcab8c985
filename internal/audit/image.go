package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/reach"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// judgment is of one image and the file system its layers make up.
type judgment struct {
	node     *Node
	config   *Config
	platform ocispecs.Platform // claimed, normalised
	fs       *rootfs.FS
	// incomplete says why files may be missing that the image has.
	incomplete string
	found      *collector
	// pageSizes are the pages that the user's machines have, by platform.
	pageSizes map[string]uint64
	reach     *reach.Result
	programs  map[string]bool // judged, by their real paths
	main      *rootfs.File    // what the image runs
	mainPath  string
	// own counts the programs and libraries for the platform, kinds what they
	// are, allowedFiles the foreign ones that are no alarm.
	own          int
	kinds        map[string]int
	strays       []stray
	allowedFiles int
}

// judgeImage puts the layers of an image together and judges what is visible.
func (a *auditor) judgeImage(ctx context.Context, n *Node, l *layers) (Image, error) {
	image := Image{Platform: n.Platform, Digest: n.Digest}
	if n.Config == nil || len(n.Layers) > maxLayers {
		image.Incomplete = "its config could not be read"
		return image, nil
	}
	j := &judgment{node: n, config: n.Config, fs: rootfs.New(), found: a.found, pageSizes: a.options.PageSizes, programs: map[string]bool{}}
	if p, err := platforms.Parse(n.Platform); err == nil {
		j.platform = p
	}
	if err := j.merge(ctx, l); err != nil {
		return image, err
	}
	image.Incomplete = j.incomplete
	switch j.platform.OS {
	case "windows":
		j.judgeWindows()
	case "wasip1", "wasi", "js":
	default:
		if j.platform.Architecture != "wasm" {
			j.survey(&image)
			j.judgePrograms()
			j.judgeBase()
			j.judgeBinaries(&image)
			j.judgeUser()
		}
	}
	j.judgeFiles(&image)
	image.Program = j.mainPath
	if image.Binaries == "" && j.main != nil {
		image.Binaries = j.main.String()
	}
	return image, nil
}

// finding is one about a file.
func (j *judgment) finding(severity Severity, id, path string, n *rootfs.Inode, format string, args ...any) Finding {
	f := about(j.node, id, format, args...)
	f.Severity, f.Path = severity, path
	if n != nil {
		f.Layer = j.fs.LayerOf(n)
		f.Evidence = append(f.Evidence, "the file: "+n.String())
		if n.File != nil && n.File.ELF != nil && n.File.ELF.Interp != "" {
			f.Evidence = append(f.Evidence, "its loader: "+n.File.ELF.Interp)
		}
	}
	return f
}

// add adds a finding about a file.
func (j *judgment) add(severity Severity, id, path string, n *rootfs.Inode, format string, args ...any) {
	j.found.add(j.finding(severity, id, path, n, format, args...))
}

// merge applies the layers, and says what is wrong with each.
func (j *judgment) merge(ctx context.Context, l *layers) error {
	diffIDs := j.config.DiffIDs
	unpackable := 0
	// Layers of Windows lie elsewhere by its licence, and WebAssembly has others.
	elsewhere := j.platform.OS == "windows" || j.platform.Architecture == "wasm"
	for i, layer := range j.node.Layers {
		fail := func(id, format string, args ...any) {
			f := about(j.node, id, format, args...)
			f.Layer = layer.Digest
			if id == "layer-unread" && elsewhere {
				f.Severity = Note
			}
			j.found.add(f)
		}
		if !isTar(layer.MediaType) {
			fail("layer-unread", "layer %d of %d has the type %q, which is no file system that is read here", i+1, len(j.node.Layers), layer.MediaType)
			j.incomplete = fmt.Sprintf("it has a layer of type %s", layer.MediaType)
			continue
		}
		unpackable++
		j.fs.Next(layer.Digest)
		o := l.outcomes[layer.Digest]
		if o.skipped != "" {
			id := "layer-unread"
			if elsewhere {
				id = "foreign-layer"
			}
			fail(id, "layer %d of %d is fetched from elsewhere (%s)", i+1, len(j.node.Layers), strings.Join(layer.URLs, ", "))
			j.incomplete = "a layer of it is fetched from elsewhere"
			continue
		}
		if o.problem != "" {
			fail(o.check, "layer %d of %d: %s", i+1, len(j.node.Layers), o.problem)
			j.incomplete = "a layer of it could not be read"
			continue
		}
		learnt, err := j.apply(ctx, l, layer)
		switch {
		case errors.Is(err, rootfs.ErrTooManyFiles):
			fail("layer-limit", "%v", err)
			j.incomplete = err.Error()
			return nil
		case err != nil:
			return err
		case o.problem != "": // met while it was read again
			fail(o.check, "layer %d of %d: %s", i+1, len(j.node.Layers), o.problem)
			j.incomplete = "a layer of it could not be read"
			continue
		}
		j.judgeFacts(i, layer, learnt, o, fail)
		var stated digest.Digest
		if i < len(diffIDs) {
			stated = diffIDs[i]
		}
		if stated != "" && learnt.DiffID != "" && stated.Algorithm() == digest.SHA256 && stated != learnt.DiffID {
			fail("diff-id", "layer %d of %d unpacks to %s, the config names %s: runtimes refuse it", i+1, len(j.node.Layers), short(learnt.DiffID), short(stated))
		}
	}
	if len(diffIDs) != unpackable && j.incomplete == "" && (len(diffIDs) > 0 || unpackable > 0) {
		j.found.add(about(j.node, "diff-id", "it has %d layers, its config names %d", unpackable, len(diffIDs)))
	}
	return nil
}

// judgeFacts says what is wrong with a layer as such.
func (j *judgment) judgeFacts(i int, layer Layer, learnt rootfs.Facts, o *outcome, fail func(id, format string, args ...any)) {
	where := fmt.Sprintf("layer %d of %d", i+1, len(j.node.Layers))
	size := learnt.Size
	if o.size >= 0 {
		size = o.size // as it is now
	}
	if size >= 0 && size != layer.Size {
		fail("size-mismatch", "%s: the manifest states %d bytes, it has %d", where, layer.Size, size)
	}
	if learnt.Broken != "" {
		fail("layer-corrupt", "%s cannot be unpacked: %s", where, learnt.Broken)
		j.incomplete = "a layer of it cannot be unpacked"
	}
	if learnt.Limit != "" {
		fail("layer-limit", "%s: %s", where, learnt.Limit)
		j.incomplete = "a layer of it was not read to its end"
	}
	for _, p := range learnt.Escapes {
		fail("layer-path", "%s holds %q, which lies outside the image", where, p)
	}
	if want := compressionOf(layer.MediaType); want != "" && learnt.Compression != want && learnt.Broken == "" {
		fail("layer-type", "%s: its media type says %s, its bytes are %s", where, want, learnt.Compression)
	}
}

// apply adds one layer to the file system. A damaged memory of it is renewed.
func (j *judgment) apply(ctx context.Context, l *layers, layer Layer) (rootfs.Facts, error) {
	learnt, err := l.store.Read(layer.Digest, j.fs.Apply)
	if err == nil || errors.Is(err, rootfs.ErrTooManyFiles) {
		return learnt, err
	}
	// Entries that were applied already are applied once more.
	b := blobOf{owner: j.node.Digest, desc: ocispecs.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, URLs: layer.URLs}, unpack: true}
	if err := l.again(ctx, b); err != nil || l.outcomes[layer.Digest].problem != "" {
		return rootfs.Facts{}, err
	}
	return l.store.Read(layer.Digest, j.fs.Apply)
}

// isTar knows the media types of file system layers.
func isTar(mediaType string) bool {
	return compressionOf(mediaType) != "" || mediaType == ""
}

// compressionOf is the compression that a layer's media type states, "" for
// what is no file system.
func compressionOf(mediaType string) string {
	base, suffix, _ := strings.Cut(mediaType, "+")
	switch base {
	case "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar":
		if suffix == "" {
			return "none"
		}
		return suffix
	case "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		return "gzip"
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return "zstd"
	}
	return ""
}
