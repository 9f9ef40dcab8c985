package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"

	"github.com/archmage-build/archmage/internal/plan"
)

// Inputs is the fingerprint of everything that a build is made from. Two
// builds with one fingerprint give the same image.
type Inputs struct {
	// Digest of the inputs, as hexadecimal SHA-256.
	Digest string
	// Whole says that the fingerprint covers all inputs. Some cannot be seen
	// from here: a git or HTTP context, a base image whose registry does not
	// answer, a build without cache. Such a build counts as the same only
	// within one release.
	Whole bool
}

// ReadInputs makes the fingerprint of b: its settings, the files of its contexts as
// .dockerignore leaves them, its Dockerfile, and the digests that its base
// images have now. Bases are by context name. It is called after Prepare.
func ReadInputs(ctx context.Context, b *plan.Build, bases map[string]Base, o Options) (Inputs, error) {
	r := &inputReader{ctx: ctx, options: o, sum: sha256.New(), whole: true}
	s := *b.Spec
	s.Tags = nil // where it goes is no part of what it is
	settings, err := json.Marshal(&s)
	if err != nil {
		return Inputs{}, fmt.Errorf("reading the settings of %s: %w", b.ID(), err)
	}
	r.add("settings", string(settings))
	r.add("platform", b.PlatformName())
	r.add("repository", b.Repository)
	r.add("options", fmt.Sprint(o.DockerMediaTypes, o.Strip))
	if o.Epoch != nil {
		r.add("epoch", fmt.Sprint(o.Epoch.Unix()))
	}
	if s.NoCache != nil && *s.NoCache || len(s.NoCacheFilter) > 0 {
		r.whole = false
	}
	for _, name := range slices.Sorted(maps.Keys(bases)) {
		r.add("base "+name, bases[name].Descriptor.Digest.String())
	}
	r.dockerfile(b) //nolint:contextcheck // the reader carries the context
	r.contexts(b)   //nolint:contextcheck // the reader carries the context
	if r.err != nil {
		return Inputs{}, fmt.Errorf("reading the inputs of %s: %w", b.ID(), r.err)
	}
	return Inputs{Digest: hex.EncodeToString(r.sum.Sum(nil)), Whole: r.whole}, nil
}

// headTimeout bounds the question for a base image's digest: the answer saves a
// build, and is not worth waiting for.
const headTimeout = 5 * time.Second

type inputReader struct {
	ctx     context.Context //nolint:containedctx // lives for one ReadInputs
	options Options
	sum     hash.Hash
	whole   bool
	err     error

	// wanted are the paths of the context that the Dockerfile names; all says
	// that it wants more than can be told.
	wanted []string
	all    bool
}

// add puts a named value into the sum, with lengths, so that no two sets of
// values run together.
func (r *inputReader) add(name, value string) {
	fmt.Fprintf(r.sum, "%d:%s%d:%s", len(name), name, len(value), value)
}

func (r *inputReader) contexts(b *plan.Build) {
	if c := value(b.Spec.Context); Remote(c) {
		r.add("context", c)
		r.whole = false
	} else if r.all || len(r.wanted) > 0 {
		r.directory("context", localPath(c), b)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Spec.Contexts)) {
		switch v := b.Spec.Contexts[name]; {
		case strings.HasPrefix(v, "target:"): // among the bases
		case strings.HasPrefix(v, "docker-image:"):
			r.image(strings.TrimPrefix(strings.TrimPrefix(v, "docker-image:"), "//"))
		case strings.HasPrefix(v, "oci-layout:"):
			dir, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(v, "oci-layout:"), "//"), "@")
			if i := strings.LastIndex(dir, ":"); i > strings.LastIndex(dir, "/") {
				dir = dir[:i]
			}
			r.file("layout "+name, filepath.Join(r.abs(dir), "index.json"))
		case Remote(v):
			r.whole = false
		default:
			r.directory("context "+name, localPath(v), nil)
		}
	}
}

func (r *inputReader) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.options.Dir, path)
}

// directory sums the files that BuildKit would be sent. b is given for the
// main context, whose .dockerignore counts.
func (r *inputReader) directory(name, dir string, b *plan.Build) {
	dir = r.abs(dir)
	var exclude []string
	if b != nil {
		exclude = r.ignored(dir, b)
	}
	tree, err := fsutil.NewFS(dir)
	filter := &fsutil.FilterOpt{ExcludePatterns: exclude}
	if b != nil && !r.all {
		filter.IncludePatterns = r.wanted
	}
	if err == nil && (len(exclude) > 0 || len(filter.IncludePatterns) > 0) {
		tree, err = fsutil.NewFilterFS(tree, filter)
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.fail(tree.Walk(r.ctx, "", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		r.add(name+" "+path, info.Mode().String())
		full := filepath.Join(dir, path)
		switch {
		case info.Mode().IsRegular():
			r.file(name+" "+path, full)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(full)
			if err != nil {
				return err
			}
			r.add(name+" "+path, to)
		}
		return r.err
	}))
}

// ignored reads the .dockerignore that applies: the Dockerfile's own, else the
// context's.
func (r *inputReader) ignored(dir string, b *plan.Build) []string {
	file := strings.TrimPrefix(value(b.Spec.Dockerfile), "cwd://")
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	for _, path := range []string{file + ".dockerignore", filepath.Join(dir, ".dockerignore")} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		patterns, err := ignorefile.ReadAll(f)
		_ = f.Close() // only read
		r.fail(err)
		return patterns
	}
	return nil
}

func (r *inputReader) file(name, path string) {
	f, err := os.Open(path)
	if err != nil {
		r.fail(err)
		return
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	_, err = io.Copy(h, f)
	r.fail(err)
	r.add(name, hex.EncodeToString(h.Sum(nil)))
}

// image adds the digest that a reference has now.
func (r *inputReader) image(ref string) {
	if strings.Contains(ref, "@sha256:") {
		r.add("image", ref)
		return
	}
	if r.options.Registry == nil {
		r.whole = false
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, headTimeout)
	defer cancel()
	desc, err := r.options.Registry.Head(ctx, ref)
	if err != nil {
		r.add("image", ref)
		r.whole = false
		return
	}
	r.add("image", ref+"@"+desc.Digest.String())
}

func (r *inputReader) fail(err error) {
	if err != nil && r.err == nil {
		r.err = err
	}
}

// dockerfile adds the Dockerfile and the images it names, and finds out which
// paths of the context it wants: what it does not name is no input.
func (r *inputReader) dockerfile(b *plan.Build) {
	text, ok := dockerfile(b, r.options)
	if !ok {
		r.whole, r.all = false, true
		return
	}
	r.add("dockerfile", string(text))
	if syntax, _, _, ok := parser.DetectSyntax(text); ok {
		r.image(syntax)
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	var stages []instructions.Stage
	var meta []instructions.ArgCommand
	if err == nil {
		stages, meta, err = instructions.Parse(tree.AST, nil)
	}
	if err != nil {
		r.whole, r.all = false, true // BuildKit will say what is wrong
		return
	}
	global := newArgs(b)
	for i := range meta {
		global.define(&meta[i], b)
	}
	last := len(stages) - 1
	if t := value(b.Spec.Target); t != "" {
		if i, ok := instructions.HasStage(stages, t); ok {
			last = i
		}
	}
	r.stage(last, stages, b, global, map[int]bool{})
}

// stage adds a stage and those it comes from.
func (r *inputReader) stage(i int, stages []instructions.Stage, b *plan.Build, global args, seen map[int]bool) {
	if i < 0 || seen[i] {
		return
	}
	seen[i] = true
	from := func(name string, ok bool) {
		switch j, isStage := instructions.HasStage(stages[:i], name); {
		case !ok: // unknown from here: any stage may be meant
			r.whole = false
			for k := range i {
				r.stage(k, stages, b, global, seen)
			}
		case isStage:
			r.stage(j, stages, b, global, seen)
		case name != "scratch" && b.Spec.Contexts[name] == "":
			r.image(name)
		}
	}
	from(global.expand(stages[i].BaseName))
	args := newArgs(b)
	for _, c := range stages[i].Commands {
		r.command(c, b, args, from)
		if run, ok := c.(*instructions.RunCommand); ok && strings.Contains(run.String(), "from=") {
			from("", false)
		}
	}
}

func (r *inputReader) command(c instructions.Command, b *plan.Build, args args, from func(string, bool)) {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		args.define(c, b)
	case *instructions.CopyCommand:
		if c.From == "" {
			r.want(c.SourcePaths, args)
		} else {
			from(args.expand(c.From))
		}
	case *instructions.AddCommand:
		for _, p := range c.SourcePaths {
			if Remote(p) {
				r.whole = false
			}
		}
		r.want(c.SourcePaths, args)
	case *instructions.RunCommand:
		if slices.Contains(c.FlagsUsed, "mount") {
			// What is mounted may be the context.
			r.all = true
		}
	}
}

// want adds the paths of a COPY or ADD.
func (r *inputReader) want(paths []string, args args) {
	for _, p := range paths {
		name, ok := args.expand(p)
		name = strings.TrimPrefix(path.Clean("/"+name), "/")
		if !ok || name == "" {
			r.all = true
			return
		}
		r.wanted = append(r.wanted, name)
	}
}

// args are the build arguments that are known from here.
type args map[string]string

// newArgs holds the platform's arguments. That they must be declared before
// use is BuildKit's to check.
func newArgs(b *plan.Build) args {
	return args{
		"TARGETPLATFORM": b.PlatformName(), "TARGETOS": b.Platform.OS,
		"TARGETARCH": b.Platform.Architecture, "TARGETVARIANT": b.Platform.Variant,
	}
}

// define takes an ARG: the target's value, else its default.
func (a args) define(c *instructions.ArgCommand, b *plan.Build) {
	for _, kv := range c.Args {
		if v := b.Spec.Args[kv.Key]; v != nil {
			a[kv.Key] = *v
			continue
		}
		if kv.Value != nil {
			if v, ok := a.expand(strings.Trim(*kv.Value, `"'`)); ok {
				a[kv.Key] = v
			}
		}
	}
}

// expand replaces variables; false if one is unknown.
func (a args) expand(text string) (string, bool) {
	ok := true
	out := os.Expand(text, func(name string) string {
		v, known := a[name]
		ok = ok && known
		return v
	})
	return out, ok
}
