package build

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/ociindex"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
)

// Remote says whether BuildKit fetches the context by itself: a git
// repository or an archive behind a URL.
func Remote(context string) bool {
	for _, scheme := range []string{"http://", "https://", "git://", "ssh://"} {
		if strings.HasPrefix(context, scheme) {
			return true
		}
	}
	if strings.HasPrefix(context, "cwd://") {
		return false
	}
	_, ok, _ := dfgitutil.ParseGitRef(context)
	return ok
}

// remote is Remote where a directory below dir wins over a name such as
// github.com/acme/app, which may be either.
func remote(dir, context string) bool {
	if st, err := os.Stat(absolute(dir, localPath(context))); err == nil && st.IsDir() {
		return false
	}
	return Remote(context)
}

// localPath is where a local context lies. Bake's cwd:// is the working
// directory, which is where archmage looks anyway.
func localPath(context string) string {
	return filepath.Clean(strings.TrimPrefix(context, "cwd://"))
}

// absolute is where path lies, which is relative to dir.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// mounts gives the solve its context, Dockerfile and named contexts, and returns
// where the local ones lie on disk, by name.
func mounts(b *plan.Build, bases map[string]Base, so *client.SolveOpt, o Options) (map[string]string, error) {
	s := b.Spec
	dirs := map[string]string{}
	so.LocalMounts = map[string]fsutil.FS{}
	at := Locate(s, o.Dir)
	if at.Remote != "" {
		so.FrontendAttrs["context"] = at.Remote
		if at.Directory != "" {
			so.FrontendAttrs["dockerfilekey"] = "dockerfile"
		}
	} else {
		tree, err := directory(at.Context, layers(b, o), o)
		if err != nil {
			return nil, fmt.Errorf("the context of target %q: %w", b.Target.Name, err)
		}
		so.LocalMounts["context"], dirs["context"] = tree, at.Context
		so.SharedKey = sharedKey(at.Context)
	}
	switch {
	case at.Inline != "":
		tree := staticfs.NewFS()
		tree.Add(at.Name, &fstypes.Stat{Mode: 0o644}, []byte(at.Inline))
		so.LocalMounts["dockerfile"] = tree
		so.FrontendAttrs["dockerfilekey"] = "dockerfile"
	case at.Directory != "":
		if at.Missing() {
			return nil, fmt.Errorf("there is no Dockerfile %s for target %q; set context and dockerfile, or write it", at.Path(), b.Target.Name)
		}
		tree, err := directory(at.Directory, nil, o)
		if err != nil {
			return nil, fmt.Errorf("the Dockerfile of target %q: %w", b.Target.Name, err)
		}
		so.LocalMounts["dockerfile"], dirs["dockerfile"] = tree, at.Directory
	}
	so.FrontendAttrs["filename"] = at.Name

	for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
		if err := namedContext(b, name, bases, so, dirs, o); err != nil {
			return nil, fmt.Errorf("the context %q of target %q: %w", name, b.Target.Name, err)
		}
	}
	if len(s.Contexts) > 0 {
		so.FrontendAttrs["frontend.caps"] = "moby.buildkit.frontend.contexts+forward"
	}
	return dirs, nil
}

func namedContext(b *plan.Build, given string, bases map[string]Base, so *client.SolveOpt, dirs map[string]string, o Options) error {
	val := b.Spec.Contexts[given]
	// The frontend looks for the short form: "alpine" for docker.io/library/alpine:latest.
	named, err := reference.ParseNormalizedNamed(given)
	if err != nil {
		return fmt.Errorf("no Dockerfile can name it: %w", err)
	}
	name := strings.TrimSuffix(reference.FamiliarString(named), ":latest")
	key := "context:" + name
	if prev, ok := so.FrontendAttrs[key]; ok {
		return fmt.Errorf("%q is %s already", name, prev)
	}
	switch {
	case strings.HasPrefix(val, "target:"):
		base, ok := bases[given]
		if !ok {
			return fmt.Errorf("%s has not been built", val)
		}
		// The frontend asks for the platform of this build. An image that stands
		// alone is taken as it is; in an index the platform must be there.
		if need := b.Needs[given]; need != nil && need.PlatformName() != b.PlatformName() && images.IsIndexType(base.Descriptor.MediaType) {
			return fmt.Errorf("%s is built for %s alone and with attestations, so %s finds no image of its own in it; add the platform to it, or leave its attest out",
				val, need.PlatformName(), b.PlatformName())
		}
		so.FrontendAttrs[key] = "docker-image://" + base.Repository + "@" + base.Descriptor.Digest.String()
		if base.parcel != nil {
			so.FrontendAttrs[key] = base.parcel.offer(so, base.Descriptor.Digest)
		}
	case strings.HasPrefix(val, "docker-image:"):
		so.FrontendAttrs[key] = val
	case strings.HasPrefix(val, "oci-layout:"):
		ref, err := ociLayout(strings.TrimPrefix(strings.TrimPrefix(val, "oci-layout:"), "//"), so, o)
		if err != nil {
			return err
		}
		so.FrontendAttrs[key] = ref
	case remote(o.Dir, val):
		so.FrontendAttrs[key] = val
	default:
		dir := absolute(o.Dir, localPath(val))
		fs, err := directory(dir, layers(b, o), o)
		if err != nil {
			return err
		}
		mount := name
		if name == "context" || name == "dockerfile" {
			mount = "_" + name
		}
		so.LocalMounts[mount], dirs[mount] = fs, dir
		so.FrontendAttrs[key] = "local:" + mount
		so.FrontendAttrs["sharedkey:localdir:"+name] = sharedKey(dir)
	}
	return nil
}

// ociLayout offers a layout directory to the daemon over the session and gives
// the reference to it. The form is path[:tag][@digest].
func ociLayout(path string, so *client.SolveOpt, o Options) (string, error) {
	path, dgst, _ := strings.Cut(path, "@")
	tag, named := "latest", false
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		path, tag, named = path[:i], path[i+1:], true
	}
	dir := absolute(o.Dir, path)
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err != nil {
		return "", fmt.Errorf("%s is no OCI image layout: it has no index.json", dir)
	}
	if dgst == "" {
		index := ociindex.NewStoreIndex(dir)
		desc, err := index.Get(tag)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", dir, err)
		}
		if desc == nil && !named { // a single image needs no name
			if desc, err = index.GetSingle(); err != nil {
				return "", fmt.Errorf("reading %s: %w", dir, err)
			}
		}
		if desc == nil {
			return "", fmt.Errorf("%s has no image %q; name one with oci-layout://PATH:TAG or @DIGEST", dir, tag)
		}
		dgst = desc.Digest.String()
	}
	store, err := local.NewStore(dir)
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", dir, err)
	}
	// The session knows the layout by this name; a build's inputs hold it too.
	id := "layout-" + digest.FromString(dir).Encoded()[:16]
	if so.OCIStores == nil {
		so.OCIStores = map[string]content.Store{}
	}
	so.OCIStores[id] = store
	return "oci-layout://" + id + "@" + dgst, nil
}

// sharedKey names a directory to the daemon, which keeps its files between
// solves and asks only for those whose size, mode or time differ. So no two
// directories may have one key, whichever machine they lie on.
func sharedKey(dir string) string {
	host, _ := os.Hostname()
	return filepath.Base(dir) + ":" + digest.FromString(host + "\x00" + dir).Encoded()[:16]
}

// directory is a local directory as BuildKit's session sends it. With an epoch,
// times and modes are sent as every clone of the commit has them, whenever and
// under whichever umask it was made. The state of archmage, which changes while
// it builds, is not sent.
func directory(dir string, epoch *time.Time, o Options) (fsutil.FS, error) {
	st, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no directory %s", dir)
	}
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s is no directory", dir)
	}
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	state, err := filepath.Rel(dir, filepath.Join(o.Dir, journal.Dir))
	if err != nil {
		state = "" // elsewhere
	}
	cloned := func(string, *fstypes.Stat) {}
	if epoch != nil {
		cloned = o.Checkout.modes(dir)
	}
	return fsutil.NewFilterFS(fs, &fsutil.FilterOpt{Map: func(path string, st *fstypes.Stat) fsutil.MapResult {
		if path == state && os.FileMode(st.Mode).IsDir() {
			return fsutil.MapResultSkipDir
		}
		if epoch == nil {
			return fsutil.MapResultKeep
		}
		st.ModTime = afterEpoch(st.ModTime, epoch.UnixNano())
		cloned(path, st)
		return fsutil.MapResultKeep
	}})
}

// afterEpoch lifts a modification time before the epoch to just behind it.
// BuildKit's rewrite-timestamp lowers later times to the epoch and leaves
// earlier ones, which no checkout keeps. The fraction of the second follows the
// true time: BuildKit's file transfer tells changed files by it.
func afterEpoch(mtime, epoch int64) int64 {
	if mtime > epoch {
		return mtime
	}
	h := fnv.New64a()
	fmt.Fprint(h, mtime)
	return epoch + 1 + int64(h.Sum64()%uint64(time.Second-time.Nanosecond))
}
