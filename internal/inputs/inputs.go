// Package inputs reads what a build is made from, with BuildKit's own Dockerfile
// frontend, and watches that the daemon is given just that.
package inputs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is what is asked of registries about base images.
type Registry interface {
	Head(ctx context.Context, ref string) (ocispecs.Descriptor, error)
	Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error)
	OpenBlob(ctx context.Context, ref string, digest digest.Digest) (io.ReadCloser, error)
}

// Inputs is everything that a build is made from, as far as it can be known
// before the build. Two builds with complete inputs of one digest give the same
// image, as BuildKit's cache has it: what a RUN step fetches from the network
// and the values of secrets are no inputs.
type Inputs struct {
	// Digest over Parts, as hexadecimal SHA-256.
	Digest string
	// Unknown says what could not be known, in words for people. Inputs with
	// something unknown are never equal to any others.
	Unknown []string
	// Parts are the inputs by name: "argument VERSION", "base alpine:3
	// linux/arm64", "file context/src/main.go". Values are digests or short.
	Parts map[string]string
}

// Complete reports whether nothing is unknown.
func (in *Inputs) Complete() bool { return len(in.Unknown) == 0 }

func (in *Inputs) seal() {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(in.Parts)) {
		// With lengths, so that no two sets run together.
		fmt.Fprintf(sum, "%d:%s%d:%s", len(name), name, len(in.Parts[name]), in.Parts[name])
	}
	in.Digest = hex.EncodeToString(sum.Sum(nil))
	slices.Sort(in.Unknown)
	in.Unknown = slices.Compact(in.Unknown)
}

// Changes names the parts that differ between two sets of parts: changed, new,
// gone. The result of BuildKit's conversion is named only where nothing else
// explains it.
func Changes(old, now map[string]string) []string {
	var out, derived []string
	for _, name := range slices.Sorted(maps.Keys(merged(old, now))) {
		was, before := old[name]
		is, after := now[name]
		text := strings.Replace(strings.Replace(name, "file context/", "file ", 1), "file dockerfile/", "file ", 1)
		switch {
		case before && after && was == is:
			continue
		case !before:
			text += " is new"
		case !after:
			text += " is gone"
		default:
			text += " changed"
		}
		if name == partDefinition || name == partConfig {
			derived = append(derived, text)
			continue
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return derived
	}
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

const (
	partDefinition = "the steps of the Dockerfile"
	partConfig     = "the image's configuration"
)

// Reader reads the inputs of the builds of one release. Base images and files
// are read once. It is safe for concurrent use.
type Reader struct {
	registry Registry
	memory   memory
	images   images
	files    fileCache
	git      gitRefs

	mu   sync.Mutex
	sent map[string]*sentFiles // by directory
}

// NewReader returns a reader that keeps what it remembers between releases below
// dir; registry may be nil, then no base image is known. git is run in environ.
func NewReader(registry Registry, dir string, environ []string) *Reader {
	r := &Reader{registry: registry, memory: memory{dir}, sent: map[string]*sentFiles{}, git: gitRefs{environ: environ}}
	r.images = images{registry: registry, memory: r.memory, known: map[string]*imageAnswer{}}
	return r
}

// Build is one build as BuildKit will be asked for it.
type Build struct {
	// Opt is what Client.Solve will be given.
	Opt *client.SolveOpt
	// Dirs are where the local mounts of Opt lie on disk, by name. A mount
	// without one is in memory.
	Dirs map[string]string
	// Platform is the worker's own, which is BUILDPLATFORM in the Dockerfile.
	Platform ocispecs.Platform
	// Parts are inputs besides those in Opt.
	Parts map[string]string
}

// Reading is the inputs of one build, and the watch over its solve.
type Reading struct {
	Inputs

	reader  *Reader
	build   Build
	result  conversion
	listing map[string]*listing // by request

	mu         sync.Mutex
	changed    map[string]bool
	unexpected []string
	unreadable *UnreadableError
	visited    map[string]map[string]bool
}

// UnreadableError is a file of a build context that cannot be read. BuildKit
// would put an empty file into the image.
type UnreadableError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("reading %s of the build context: %v", e.Path, e.Err)
}

// Unwrap gives the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *UnreadableError) Remedy() string {
	return "make the file readable, or exclude it in .dockerignore"
}

// Read reads the inputs of a build. What cannot be known is in Unknown; the error
// is an UnreadableError, or the context's end.
func (r *Reader) Read(ctx context.Context, b Build) (*Reading, error) {
	out := &Reading{
		reader: r, build: b, listing: map[string]*listing{},
		changed: map[string]bool{}, visited: map[string]map[string]bool{},
	}
	out.Parts = map[string]string{}
	maps.Copy(out.Parts, b.Parts)
	attributes(out.Parts, b.Opt)
	var err error
	if out.result, err = r.convert(ctx, b, false); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		out.Unknown = append(out.Unknown, plain(err))
	}
	maps.Copy(out.Parts, out.result.parts)
	out.Unknown = append(out.Unknown, out.result.unknown...)
	for _, req := range out.result.locals {
		l, err := r.list(ctx, b, req)
		var unreadable *UnreadableError
		switch {
		case errors.As(err, &unreadable):
			return nil, unreadable
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			out.Unknown = append(out.Unknown, plain(err))
			continue
		}
		out.listing[req.key()] = l
		for path, value := range l.entries {
			out.Parts["file "+req.name+"/"+path] = value
		}
	}
	out.seal()
	return out, nil
}

// attributes are the inputs that the caller states. Keys that name directories
// of this machine are none.
func attributes(parts map[string]string, opt *client.SolveOpt) {
	for k, v := range opt.FrontendAttrs {
		kind, name, ok := strings.Cut(k, ":")
		switch {
		case kind == "sharedkey":
			continue
		case ok && kind == "build-arg":
			k = "argument " + name
		case ok && kind == "label":
			k = "label " + name
		case ok && kind == "context":
			k = "context " + name
		case k == "platform":
		default:
			k = "option " + k
		}
		// The value may be a secret that somebody put into an argument.
		parts[k] = digest.FromString(v).Encoded()
	}
	for i, e := range opt.Exports {
		for k, v := range e.Attrs {
			parts[fmt.Sprintf("output %d %s", i, k)] = v
		}
		parts[fmt.Sprintf("output %d", i)] = e.Type
	}
	parts["compatibility version"] = fmt.Sprint(opt.CompatibilityVersion)
	for _, e := range opt.CacheExports {
		if e.Type == "inline" {
			parts["inline cache"] = "true"
		}
	}
}

// plain is an error in one line.
func plain(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
