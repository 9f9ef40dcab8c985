package inputs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	cimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// headTimeout bounds a question to a registry about a base image: the answer
// saves a build, and is not worth waiting longer for.
const headTimeout = 10 * time.Second

// configLimit bounds an image's configuration, in bytes.
const configLimit = 8 << 20

// images answers for base images, each asked for once a release.
type images struct {
	registry Registry
	memory   memory
	// unreachable reports that an error is no answer of a registry: then what is
	// remembered counts. nil: it never does.
	unreachable func(error) bool

	mu    sync.Mutex
	known map[string]*imageAnswer
	old   []OldBase
}

// OldBase is a base image taken from memory, as its registry did not answer.
type OldBase struct {
	Ref    string
	Digest digest.Digest
	// Seen is when the registry last said so.
	Seen time.Time
}

// imageAnswer is what a registry said of a reference.
type imageAnswer struct {
	once   sync.Once
	digest digest.Digest
	config []byte
	err    error
}

func (s *images) answer(key string) *imageAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.known[key]
	if a == nil {
		a = &imageAnswer{}
		s.known[key] = a
	}
	return a
}

// head returns the digest that a reference has now.
func (s *images) head(ctx context.Context, ref string) (digest.Digest, error) {
	if _, d, ok := strings.Cut(ref, "@"); ok {
		return digest.Parse(d)
	}
	a := s.answer(ref)
	a.once.Do(func() {
		a.digest, a.err = s.ask(ctx, ref)
		switch {
		case a.err == nil:
			s.memory.keepBase(ref, a.digest)
		case s.unreachable != nil && ctx.Err() == nil && s.unreachable(a.err):
			if was, ok := s.memory.base(ref); ok {
				a.digest, a.err = was.Digest, nil
				s.mu.Lock()
				defer s.mu.Unlock()
				s.old = append(s.old, was)
			}
		}
	})
	return a.digest, a.err
}

func (s *images) ask(ctx context.Context, ref string) (digest.Digest, error) {
	if s.registry == nil {
		return "", errors.New("no registry is asked")
	}
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	desc, err := s.registry.Head(ctx, ref)
	return desc.Digest, err
}

// moved returns the references that have another digest by now than they had when
// they were first asked for, or whose registry no longer answers.
func (s *images) moved(ctx context.Context, among func(name string) bool) map[string]bool {
	s.mu.Lock()
	known := maps.Clone(s.known)
	s.mu.Unlock()
	out := map[string]bool{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(8)
	for ref, a := range known {
		name := shortName(ref)
		if strings.Contains(ref, " ") || !among(name) { // an answer for a platform rests on that of its reference
			continue
		}
		g.Go(func() error {
			now, err := s.ask(ctx, ref)
			if err != nil && s.unreachable != nil && s.unreachable(err) {
				return nil // nor could the daemon have built on another
			}
			if err != nil || now != a.digest {
				mu.Lock()
				defer mu.Unlock()
				out[name] = true
			}
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	return out
}

// config returns the digest that a reference has now and the configuration of its
// image for a platform, as BuildKit chooses it; nil means this machine's.
func (s *images) config(ctx context.Context, ref string, p *ocispecs.Platform) (*imageAnswer, error) {
	spec := platforms.DefaultSpec()
	if p != nil {
		spec = *p
	}
	name := platforms.FormatAll(platforms.Normalize(spec))
	a := s.answer(ref + " " + name)
	a.once.Do(func() {
		if a.digest, a.err = s.head(ctx, ref); a.err != nil {
			return
		}
		key := string(a.digest) + " " + name
		if a.config = s.memory.config(key); a.config != nil {
			return
		}
		named, err := reference.ParseNormalizedNamed(ref)
		if err != nil {
			a.err = err
			return
		}
		provider := &registryContent{registry: s.registry, repository: named.Name()}
		desc, _, err := s.registry.Manifest(ctx, named.Name()+"@"+a.digest.String())
		if err != nil {
			a.err = err
			return
		}
		if a.config, a.err = imageConfig(ctx, provider, desc, platforms.Only(spec)); a.err == nil {
			s.memory.keepConfig(key, a.config)
		}
	})
	return a, a.err
}

// imageConfig reads the configuration of the image for a platform, out of a
// manifest or an index.
func imageConfig(ctx context.Context, provider content.Provider, desc ocispecs.Descriptor, p platforms.MatchComparer) ([]byte, error) {
	config, err := cimages.Config(ctx, provider, desc, p)
	if err != nil {
		return nil, err
	}
	if config.Size > configLimit {
		return nil, fmt.Errorf("its configuration has %d bytes", config.Size)
	}
	raw, err := content.ReadBlob(ctx, provider, config)
	if err != nil {
		return nil, err
	}
	var any struct{}
	if err := json.Unmarshal(raw, &any); err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	return raw, nil
}

// layoutConfig is the configuration of an image in a layout that the session
// offers.
func layoutConfig(ctx context.Context, store content.Store, ref string, p *ocispecs.Platform) (digest.Digest, []byte, error) {
	_, text, _ := strings.Cut(ref, "@")
	dgst, err := digest.Parse(text)
	if err != nil || store == nil {
		return "", nil, fmt.Errorf("the layout of %s is not here", ref)
	}
	info, err := store.Info(ctx, dgst)
	if err != nil {
		return "", nil, err
	}
	desc := ocispecs.Descriptor{Digest: dgst, Size: info.Size}
	raw, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return "", nil, err
	}
	var named struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &named); err != nil {
		return "", nil, err
	}
	desc.MediaType = named.MediaType
	if desc.MediaType == "" {
		desc.MediaType = ocispecs.MediaTypeImageManifest
		if named.Manifests != nil {
			desc.MediaType = ocispecs.MediaTypeImageIndex
		}
	}
	spec := platforms.DefaultSpec()
	if p != nil {
		spec = *p
	}
	config, err := imageConfig(ctx, store, desc, platforms.Only(spec))
	return dgst, config, err
}

// registryContent reads manifests and configurations of one repository.
type registryContent struct {
	registry   Registry
	repository string
}

// ReaderAt implements content.Provider.
func (c *registryContent) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	ref := c.repository + "@" + desc.Digest.String()
	if cimages.IsManifestType(desc.MediaType) || cimages.IsIndexType(desc.MediaType) {
		_, raw, err := c.registry.Manifest(ctx, ref)
		return blob(raw), err
	}
	r, err := c.registry.OpenBlob(ctx, ref, desc.Digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(r, configLimit+1))
	if err == nil && len(raw) > configLimit {
		err = fmt.Errorf("blob %s is larger than %d bytes", desc.Digest, configLimit)
	}
	return blob(raw), err
}

// blob is content in memory.
type blob []byte

func (b blob) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b blob) Size() int64  { return int64(len(b)) }
func (b blob) Close() error { return nil }

// Offline has base images whose registry does not answer, as unreachable tells,
// count as they were when it last did.
func (r *Reader) Offline(unreachable func(error) bool) { r.images.unreachable = unreachable }

// OldBases are the base images that were taken so, by reference.
func (r *Reader) OldBases() []OldBase {
	r.images.mu.Lock()
	defer r.images.mu.Unlock()
	return slices.SortedFunc(slices.Values(r.images.old), func(a, b OldBase) int { return strings.Compare(a.Ref, b.Ref) })
}

// imageParts are how the names of parts begin that are images.
var imageParts = []string{"base ", "frontend "}

// MovedBases names the base images of some builds that have another digest by
// now than they were read with: a daemon may have built on either.
func (r *Reader) MovedBases(ctx context.Context, all ...*Inputs) []string {
	among := map[string]bool{}
	for _, in := range all {
		for name := range in.Parts {
			for _, kind := range imageParts {
				if ref, ok := strings.CutPrefix(name, kind); ok {
					among[ref] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(r.images.moved(ctx, func(name string) bool { return among[name] })))
}
