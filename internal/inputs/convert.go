package inputs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
)

// conversion is what BuildKit's frontend makes of a build.
type conversion struct {
	parts   map[string]string
	unknown []string
	locals  []request
	// images are the references that the frontend asked for, found or not.
	images []string
	// final is the definition of the image.
	final *pb.Definition
}

// convert runs BuildKit's Dockerfile frontend here, as a daemon would run it,
// and collects the definitions it wants solved. Where any is set, base images that
// are not known are taken for empty ones of the right platform.
func (r *Reader) convert(ctx context.Context, b Build, any bool) (conversion, error) {
	f := &frontend{reader: r, build: b, any: any, out: conversion{parts: map[string]string{}}}
	f.attrs = maps.Clone(b.Opt.FrontendAttrs)
	for k := range f.attrs {
		if strings.HasPrefix(k, "sharedkey:") {
			delete(f.attrs, k)
		}
	}
	res, err := f.run(ctx)
	if err != nil {
		return f.out, err
	}
	if ref, err := res.SingleRef(); err == nil {
		if final, ok := ref.(*solved); ok {
			f.out.final = final.def
		}
	}
	if f.out.final == nil {
		return f.out, errors.New("the frontend returned no definition")
	}
	f.out.parts[partConfig] = digest.FromBytes(res.Metadata[exptypes.ExporterImageConfigKey]).Encoded()
	if no, ok := f.attrs["no-cache"]; ok {
		if no == "" {
			no = "every stage"
		}
		f.unknown("no-cache is set for " + no)
	}
	err = f.sources(ctx)
	return f.out, err
}

// frontend is the part of a daemon that a frontend talks to.
type frontend struct {
	reader *Reader
	build  Build
	attrs  map[string]string
	any    bool

	mu   sync.Mutex
	defs []*pb.Definition
	out  conversion
}

func (f *frontend) run(ctx context.Context) (*gateway.Result, error) {
	if f.build.Opt.Frontend == "gateway.v0" {
		return f.forward(ctx, f.attrs)
	}
	return f.dockerfile(ctx)
}

// dockerfile does what BuildKit's frontend does with a Dockerfile:
// frontend/dockerfile/builder.Build, for one platform and without a solver.
func (f *frontend) dockerfile(ctx context.Context) (*gateway.Result, error) {
	bc, err := dockerui.NewClient(f)
	if err != nil {
		return nil, err
	}
	src, err := bc.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, err
	}
	attrs := bc.BuildOpts().Opts
	if _, ok := attrs["cmdline"]; !ok {
		if ref, cmdline, _, ok := parser.DetectSyntax(src.Data); ok {
			return f.forward(ctx, map[string]string{"source": ref, "cmdline": cmdline})
		}
	}
	if bc.SBOM != nil {
		p := bc.BuildPlatforms[0]
		if _, _, _, err := f.ResolveImageConfig(ctx, bc.SBOM.Generator, sourceresolver.Opt{ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &p}}); err != nil {
			return nil, err
		}
	}
	opt := dockerfile2llb.ConvertOpt{Config: bc.Config, Client: bc, SourceMap: src.SourceMap, MetaResolver: f}
	if len(bc.TargetPlatforms) > 0 {
		opt.TargetPlatform = &bc.TargetPlatforms[0]
	}
	converted, err := dockerfile2llb.Dockerfile2LLB(ctx, src.Data, opt)
	if err != nil {
		return nil, err
	}
	def, err := converted.State.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(converted.Image)
	if err != nil {
		return nil, err
	}
	if bc.SBOM != nil { // what else is scanned
		for _, name := range slices.Sorted(maps.Keys(converted.SBOM.Extras)) {
			extra, err := converted.SBOM.Extras[name].Marshal(ctx)
			if err != nil {
				return nil, err
			}
			if _, err := f.Solve(ctx, gateway.SolveRequest{Definition: extra.ToPB()}); err != nil {
				return nil, err
			}
		}
	}
	res, err := f.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, err
	}
	res.AddMeta(exptypes.ExporterImageConfigKey, config)
	return res, nil
}

// forward takes the place of a frontend image. The official ones do what the
// frontend here does, as far as a Dockerfile is understood by both; the watch
// over the solve sees a difference in what they read.
func (f *frontend) forward(ctx context.Context, attrs map[string]string) (*gateway.Result, error) {
	source := attrs["source"]
	f.image(source)
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return nil, fmt.Errorf("the frontend %q is unknown", source)
	}
	switch named.Name() {
	case "docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream":
	default:
		return nil, fmt.Errorf("the frontend %s is not docker/dockerfile", source)
	}
	dgst, err := f.reader.images.head(ctx, reference.TagNameOnly(named).String())
	if err != nil {
		return nil, fmt.Errorf("the frontend %s: %w", source, err)
	}
	f.mu.Lock()
	f.out.parts["frontend "+shortName(reference.TagNameOnly(named).String())] = dgst.String()
	f.attrs["cmdline"] = attrs["cmdline"]
	f.mu.Unlock()
	return f.dockerfile(ctx)
}

func (f *frontend) unknown(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.unknown = append(f.out.unknown, what)
}

// BuildOpts implements gateway.Client.
func (f *frontend) BuildOpts() gateway.BuildOpts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return gateway.BuildOpts{
		Opts:    maps.Clone(f.attrs),
		Workers: []gateway.WorkerInfo{{Platforms: []ocispecs.Platform{platforms.Normalize(f.build.Platform)}}},
		LLBCaps: pb.Caps.CapSet(pb.Caps.All()),
		Caps:    gatewaypb.Caps.CapSet(gatewaypb.Caps.All()),
	}
}

// Solve implements gateway.Client: nothing is solved, the definition is kept.
func (f *frontend) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Frontend != "" {
		return f.forward(ctx, req.FrontendOpt)
	}
	if req.Definition == nil {
		return nil, errors.New("a solve without a definition")
	}
	f.mu.Lock()
	f.defs = append(f.defs, req.Definition)
	f.mu.Unlock()
	res := gateway.NewResult()
	res.SetRef(&solved{frontend: f, def: req.Definition})
	return res, nil
}

// Inputs implements gateway.Client.
func (f *frontend) Inputs(context.Context) (map[string]llb.State, error) {
	return map[string]llb.State{}, nil
}

// NewContainer implements gateway.Client.
func (f *frontend) NewContainer(context.Context, gateway.NewContainerRequest) (gateway.Container, error) {
	return nil, errors.New("the frontend runs containers")
}

// Warn implements gateway.Client: the real frontend warns too.
func (f *frontend) Warn(context.Context, digest.Digest, string, gateway.WarnOpts) error { return nil }

// ResolveImageConfig implements gateway.Client.
func (f *frontend) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if o := opt.OCILayoutOpt; o != nil {
		dgst, config, err := layoutConfig(ctx, f.build.Opt.OCIStores[o.Store.StoreID], ref, o.Platform)
		return ref, dgst, config, err
	}
	var platform *ocispecs.Platform
	if opt.ImageOpt != nil {
		platform = opt.ImageOpt.Platform
	}
	f.image(ref)
	im, err := f.reader.images.config(ctx, ref, platform)
	if err != nil && f.any && platform != nil {
		config, err := json.Marshal(ocispecs.Image{Platform: *platform, RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString(ref)}}})
		return ref, "", config, err
	}
	if err != nil {
		return "", "", nil, fmt.Errorf("the base image %s: %w", familiar(ref), err)
	}
	f.base(ref, im.digest)
	return ref, im.digest, im.config, nil
}

// ResolveSourceMetadata implements gateway.Client.
func (f *frontend) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	ref, ok := strings.CutPrefix(op.Identifier, "docker-image://")
	if !ok {
		return nil, fmt.Errorf("the source %s cannot be asked for from here", op.Identifier)
	}
	_, dgst, config, err := f.ResolveImageConfig(ctx, ref, opt)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.MetaResponse{Op: op, Image: &sourceresolver.ResolveImageResponse{Digest: dgst, Config: config}}, nil
}

func (f *frontend) image(ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.images = append(f.out.images, ref)
}

func (f *frontend) base(ref string, dgst digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.parts["base "+shortName(ref)] = dgst.String()
}

// sources looks at every operation of the definitions: which files of this
// machine they read, and whether all else is named by its content.
func (f *frontend) sources(ctx context.Context) error {
	sum := sha256.New()
	seen := map[string]bool{}
	for _, def := range f.defs {
		stable := map[string]string{}
		for _, raw := range def.Def {
			op, err := normalize(raw, stable)
			if err != nil {
				return fmt.Errorf("reading the definition: %w", err)
			}
			sum.Write([]byte(stable[digest.FromBytes(raw).String()]))
			src := op.GetSource()
			if src == nil {
				continue
			}
			if err := f.source(ctx, src, seen); err != nil {
				return err
			}
		}
	}
	f.out.parts[partDefinition] = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// normalize reads an operation and takes out what is another value each time: the
// name that a client gives to a local source, what a key scan of an SSH server
// gave, and the digests of inputs that have such. It puts the operation's digest
// without these into stable; operations come behind their inputs.
func normalize(raw []byte, stable map[string]string) (*pb.Op, error) {
	op := &pb.Op{}
	if err := op.UnmarshalVT(raw); err != nil {
		return nil, err
	}
	for _, in := range op.Inputs {
		if d, ok := stable[in.Digest]; ok {
			in.Digest = d
		}
	}
	if src := op.GetSource(); src != nil {
		delete(src.Attrs, pb.AttrLocalUniqueID)
		delete(src.Attrs, pb.AttrKnownSSHHosts)
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		return nil, err
	}
	stable[digest.FromBytes(raw).String()] = digest.FromBytes(text).String()
	return op, nil
}

func (f *frontend) source(ctx context.Context, src *pb.SourceOp, seen map[string]bool) error {
	scheme, rest, _ := strings.Cut(src.Identifier, "://")
	switch scheme {
	case "local":
		req, err := requestOf(rest, src.Attrs)
		if err != nil {
			return err
		}
		if !seen[req.key()] {
			seen[req.key()] = true
			f.out.locals = append(f.out.locals, req)
		}
	case "docker-image":
		f.image(rest)
		if strings.Contains(rest, "@") {
			return nil
		}
		dgst, err := f.reader.images.head(ctx, rest)
		if err != nil {
			f.unknown(fmt.Sprintf("the image %s: %v", familiar(rest), plain(err)))
			return nil
		}
		f.base(rest, dgst)
	case "oci-layout", "docker-image+blob", "oci-layout+blob": // named by digest
	case "git":
		commit, err := f.reader.git.commit(ctx, src)
		if err != nil {
			f.unknown(fmt.Sprintf("the git repository %s: %v", rest, plain(err)))
			return nil
		}
		f.out.parts["git "+rest] = commit
	case "http", "https":
		if src.Attrs[pb.AttrHTTPChecksum] == "" {
			f.unknown(fmt.Sprintf("what %s holds now; ADD --checksum=sha256:… names it", src.Identifier))
		}
	default:
		f.unknown(fmt.Sprintf("a source of the kind %q", scheme))
	}
	return nil
}

// request is one set of files that a daemon asks of this machine.
type request struct {
	name                       string
	includes, excludes, follow []string
}

func (q request) key() string {
	text, _ := json.Marshal([]any{q.name, q.includes, q.excludes, q.follow}) // strings always encode
	return string(text)
}

func requestOf(name string, attrs map[string]string) (request, error) {
	q := request{name: name}
	for attr, list := range map[string]*[]string{
		pb.AttrIncludePatterns: &q.includes, pb.AttrExcludePatterns: &q.excludes, pb.AttrFollowPaths: &q.follow,
	} {
		if text := attrs[attr]; text != "" {
			if err := json.Unmarshal([]byte(text), list); err != nil {
				return q, fmt.Errorf("reading the local source %q: %w", name, err)
			}
		}
		*list = slices.Clip(*list)
	}
	return q, nil
}

// shortName is a reference as a Dockerfile has it, without a digest.
func shortName(ref string) string {
	name, _, _ := strings.Cut(familiar(ref), "@")
	return name
}

func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}

// Repositories are those of the images that the build's Dockerfile names, its
// frontend among them, each once and in full. Of a frontend other than
// docker/dockerfile, nothing is known but itself.
func (r *Reading) Repositories(ctx context.Context) []string {
	images := r.result.images
	if !r.Complete() { // the frontend may have stopped at the first that it did not get
		rest, _ := r.reader.convert(ctx, r.build, true)
		images = append(slices.Clone(images), rest.images...)
	}
	var out []string
	for _, ref := range images {
		if named, err := reference.ParseNormalizedNamed(ref); err == nil && !slices.Contains(out, named.Name()) {
			out = append(out, named.Name())
		}
	}
	return out
}

// Programs reports whether a build executes programs of a platform, and on which
// line of its Dockerfile first (0 if unknown). Steps pinned to another platform,
// such as those of a stage FROM --platform=$BUILDPLATFORM, do not count. What is
// unknown counts as no.
func (r *Reader) Programs(ctx context.Context, b Build, p ocispecs.Platform) (line int, runs bool) {
	c, _ := r.convert(ctx, b, true) // what cannot be converted runs nothing that is known
	if c.final == nil {
		return 0, false
	}
	want := platforms.FormatAll(platforms.Normalize(p))
	for _, raw := range c.final.Def {
		var op pb.Op
		if op.UnmarshalVT(raw) != nil || op.GetExec() == nil || op.Platform == nil {
			continue
		}
		at := ocispecs.Platform{OS: op.Platform.OS, Architecture: op.Platform.Architecture, Variant: op.Platform.Variant}
		if platforms.FormatAll(platforms.Normalize(at)) != want {
			continue
		}
		runs = true
		if c.final.Source == nil {
			continue
		}
		for _, loc := range c.final.Source.Locations[digest.FromBytes(raw).String()].GetLocations() {
			for _, rng := range loc.Ranges {
				if n := int(rng.Start.Line); line == 0 || n < line {
					line = n
				}
			}
		}
	}
	return line, runs
}
