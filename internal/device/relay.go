package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// Images reads what a registry has; *registry.Client does.
type Images interface {
	Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error)
	OpenBlob(ctx context.Context, ref string, d digest.Digest) (io.ReadCloser, error)
}

// errNoImage is what cannot be relayed: an index, of which the device picks.
var errNoImage = errors.New("it is no image of one platform")

// relayed is an image on its way to a device through the SSH connection, for
// where that breaks again and again: a runtime would begin a layer from its first
// byte each time.
type relayed struct {
	ref      string
	raw      []byte
	manifest ocispecs.Manifest
	config   []byte
	diffIDs  []string
	// dir holds the blobs on this machine.
	dir string
}

// relay brings the layers that the device lacks, chunk by chunk, and gives the
// image to its runtime. alive is called whenever bytes have arrived.
func (d *Device) relay(ctx context.Context, f *Facts, ref string, alive func()) error {
	dir, err := os.MkdirTemp("", "archmage-relay")
	if err != nil {
		return fmt.Errorf("relaying %q: %w", ref, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r, err := readImageFor(ctx, d.opts.Images, ref, dir)
	if err != nil {
		return err
	}
	has, err := d.hasLayers(ctx, f, r.diffIDs)
	if err != nil {
		return err
	}
	// Newer stores take no image without all of its layers.
	for _, n := range []int{has, 0} {
		lacks := r.manifest.Layers[n:]
		for _, desc := range append([]ocispecs.Descriptor{r.manifest.Config}, lacks...) {
			if err := d.bringBlob(ctx, r, desc, alive); err != nil {
				return err
			}
		}
		err = d.load(ctx, f, r, lacks)
		if err == nil {
			return d.clearSpool(ctx, r)
		}
		if n == 0 || IsLost(err) || ctx.Err() != nil {
			break
		}
	}
	return err
}

// readImageFor reads the manifest and config of an image.
func readImageFor(ctx context.Context, from Images, ref, dir string) (*relayed, error) {
	r := &relayed{ref: ref, dir: dir}
	desc, raw, err := from.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	if oci.IsIndex(desc.MediaType) {
		return nil, errNoImage
	}
	r.raw = raw
	if err := json.Unmarshal(raw, &r.manifest); err != nil {
		return nil, fmt.Errorf("reading the manifest of %q: %w", ref, err)
	}
	for _, b := range append([]ocispecs.Descriptor{r.manifest.Config}, r.manifest.Layers...) {
		if err := b.Digest.Validate(); err != nil || b.Digest.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("relaying %q: the digest %q: only sha256 is known to devices", ref, b.Digest)
		}
	}
	if r.config, err = r.read(ctx, from, r.manifest.Config); err != nil {
		return nil, err
	}
	var image ocispecs.Image
	if err := json.Unmarshal(r.config, &image); err != nil {
		return nil, fmt.Errorf("reading the config of %q: %w", ref, err)
	}
	for _, id := range image.RootFS.DiffIDs {
		r.diffIDs = append(r.diffIDs, id.String())
	}
	if len(r.diffIDs) != len(r.manifest.Layers) {
		return nil, fmt.Errorf("relaying %q: its config names %d layers, its manifest %d", ref, len(r.diffIDs), len(r.manifest.Layers))
	}
	for _, desc := range r.manifest.Layers {
		if err := r.fetch(ctx, from, desc); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *relayed) read(ctx context.Context, from Images, desc ocispecs.Descriptor) ([]byte, error) {
	if err := r.fetch(ctx, from, desc); err != nil {
		return nil, err
	}
	return os.ReadFile(r.path(desc))
}

func (r *relayed) path(desc ocispecs.Descriptor) string {
	return filepath.Join(r.dir, desc.Digest.Encoded())
}

// fetch brings a blob to this machine, verified.
func (r *relayed) fetch(ctx context.Context, from Images, desc ocispecs.Descriptor) error {
	if _, err := os.Stat(r.path(desc)); err == nil {
		return nil // the same layer twice
	}
	body, err := from.OpenBlob(ctx, r.ref, desc.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	file, err := os.OpenFile(r.path(desc)+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keeping a layer of %q: %w", r.ref, err)
	}
	defer func() { _ = file.Close() }()
	verifier := desc.Digest.Verifier()
	n, err := io.Copy(io.MultiWriter(file, verifier), io.LimitReader(body, desc.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading layer %s of %q: %w", desc.Digest, r.ref, err)
	case n != desc.Size || !verifier.Verified():
		return fmt.Errorf("reading layer %s of %q: other bytes than its digest and size (%d) name", desc.Digest, r.ref, desc.Size)
	}
	return os.Rename(file.Name(), r.path(desc))
}

// hasLayers is how many of an image's layers, from the first on, some image of
// the device has.
func (d *Device) hasLayers(ctx context.Context, f *Facts, diffIDs []string) (int, error) {
	o, err := d.steady(ctx, strings.ReplaceAll(`
ids=$(@RT@ image ls -a -q --no-trunc 2>/dev/null | sort -u)
[ -n "$ids" ] && @RT@ image inspect --format '{{json .RootFS.Layers}}' $ids 2>/dev/null
exit 0`, "@RT@", f.command()))
	if err != nil {
		return 0, err
	}
	most := 0
	for line := range strings.Lines(string(o.stdout)) {
		var layers []string
		if json.Unmarshal([]byte(line), &layers) != nil {
			continue
		}
		n := 0
		for n < len(layers) && n < len(diffIDs) && layers[n] == diffIDs[n] {
			n++
		}
		most = max(most, n)
	}
	return most, nil
}

// Chunks begin small, so that one gets through between two breaks of a bad line.
// They double as long as they arrive quickly; after a break they are halved, and
// then grow by the least. Bytes.
const (
	firstChunk = 64 << 10
	leastChunk = 8 << 10
	mostChunk  = 4 << 20
	quick      = 4 * time.Second
)

// breaks is how many times in a row the connection may break without a byte
// having arrived.
const breaks = 5

// bringBlob appends the chunks of a blob to what the device has of it. Each is
// added only if it arrived as it was sent, and the whole counts only if its digest
// is right.
func (d *Device) bringBlob(ctx context.Context, r *relayed, desc ocispecs.Descriptor, alive func()) error {
	file, err := os.Open(r.path(desc))
	if err != nil {
		return fmt.Errorf("relaying %q: %w", r.ref, err)
	}
	defer func() { _ = file.Close() }()
	size, chunk := int64(firstChunk), make([]byte, 0)
	failed, wrong, broke := 0, 0, false
	for at := int64(-1); ; {
		chunk = chunk[:0]
		if at >= 0 {
			chunk = make([]byte, min(size, desc.Size-at))
			if _, err := file.ReadAt(chunk, at); err != nil {
				return fmt.Errorf("relaying %q: %w", r.ref, err)
			}
		}
		begin := time.Now()
		state, err := d.sendChunk(ctx, desc, at, chunk)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case IsLost(err):
			size, broke = max(size/2, leastChunk), true
			if failed++; failed > breaks {
				return err
			}
			if err := d.reconnect(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case state.whole:
			alive()
			return nil
		case state.wrong:
			if wrong++; wrong > 2 {
				return &Error{Kind: PullFailed, Err: fmt.Errorf("layer %s arrived with other bytes three times", desc.Digest), Hint: "the device's storage may be damaged: look at its log, and at the free space"}
			}
		case state.size > at:
			failed = 0
			alive()
			if took := time.Since(begin); at >= 0 && took < quick {
				size = min(size+leastChunk, mostChunk)
				if !broke {
					size = min(size*2, mostChunk)
				}
			}
		default: // it did not get through whole
			if failed++; failed > breaks {
				return &Error{Kind: PullFailed, Err: fmt.Errorf("layer %s is not taken by the device", desc.Digest), Hint: "look at the free space in the account's home directory on the device"}
			}
		}
		at = state.size
	}
}

// sent is what the device has of a blob.
type sent struct {
	size  int64
	whole bool
	// wrong reports that all of it came together and was not the blob; it is gone.
	wrong bool
}

// spool is where blobs lie on a device until its runtime has them.
const spool = `d=${XDG_CACHE_HOME:-$HOME/.cache}/archmage/blobs; `

// chunkScript takes a chunk on standard input. Nothing of one that was cut off
// stays, since another session goes on with what is there.
const chunkScript = spool + `f=$d/@HEX@; t=$f.$$.new; ` +
	`sum() { { sha256sum "$1" || shasum -a 256 "$1" || openssl dgst -sha256 -r "$1"; } 2>/dev/null | cut -c 1-64; }; ` +
	`size() { if [ -f "$1" ]; then wc -c <"$1" | tr -d " "; else echo 0; fi; }; ` +
	`umask 077; mkdir -p "$d" || exit 73; trap 'rm -f "$t"' EXIT; trap 'exit 75' HUP TERM; trap '' PIPE; ` +
	`if [ ! -f "$f" ]; then cat >"$t" || exit 74; ` +
	`if [ "$(sum "$t")" = @SUM@ ] && [ "$(size "$f.part")" = @AT@ ]; then cat "$t" >>"$f.part" || exit 74; fi; ` +
	`if [ "$(size "$f.part")" -ge @SIZE@ ]; then if [ "$(sum "$f.part")" = @HEX@ ]; then mv "$f.part" "$f"; else rm -f "$f.part"; echo @MARK@ wrong 0; fi; fi; fi; ` +
	`if [ -f "$f" ]; then echo @MARK@ whole 0; else echo @MARK@ part "$(size "$f.part")"; fi`

// sendChunk appends bytes at an offset, or only asks where at is -1.
func (d *Device) sendChunk(ctx context.Context, desc ocispecs.Descriptor, at int64, chunk []byte) (sent, error) {
	mark, err := newMark()
	if err != nil {
		return sent{}, err
	}
	script := strings.NewReplacer(
		"@HEX@", desc.Digest.Encoded(), "@SUM@", digest.FromBytes(chunk).Encoded(), "@AT@", fmt.Sprint(at), "@SIZE@", fmt.Sprint(desc.Size), "@MARK@", mark,
	).Replace(chunkScript)
	out, said, err := d.feed(ctx, script, chunk)
	if err != nil {
		return sent{}, err
	}
	var s sent
	answered := false
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != mark {
			continue
		}
		switch words[1] {
		case "wrong":
			s.wrong = true
		case "whole":
			answered, s.whole = true, true
		case "part":
			answered = true
			if _, err := fmt.Sscan(words[2], &s.size); err != nil {
				return sent{}, fmt.Errorf("reading what the device has of a layer: %w", err)
			}
		}
	}
	if !answered {
		e := pullReason(said)
		e.Err = fmt.Errorf("keeping a layer: %w", e.Err)
		return sent{}, e
	}
	return s, nil
}

// loadScript gives the runtime what came, and keeps none of it. A Docker archive
// may lack layers that the engine has; podman reads an OCI layout, of which it
// takes only the blobs that it lacks.
const loadScript = spool + `
n=load-$$; l=$d/$n
rm -rf "$l"; mkdir "$l" || exit 73
trap 'rm -rf "$l"' EXIT
put() { ln "$d/$1" "$2" 2>/dev/null || cp "$d/$1" "$2"; }
`

func (d *Device) load(ctx context.Context, f *Facts, r *relayed, lacks []ocispecs.Descriptor) error {
	var script strings.Builder
	script.WriteString(loadScript)
	blobs := append([]ocispecs.Descriptor{r.manifest.Config}, lacks...)
	write := func(name string, text []byte) {
		fmt.Fprintf(&script, "printf '%%s' %s >\"$l/%s\" || exit 73\n", quote(string(text)), name)
	}
	if f.Runtime == "podman" {
		script.WriteString("mkdir -p \"$l/blobs/sha256\" || exit 73\n")
		for _, b := range blobs {
			fmt.Fprintf(&script, "put %[1]s \"$l/blobs/sha256/%[1]s\" || exit 73\n", b.Digest.Encoded())
		}
		desc := ocispecs.Descriptor{MediaType: r.manifest.MediaType, Digest: digest.FromBytes(r.raw), Size: int64(len(r.raw))}
		if desc.MediaType == "" {
			desc.MediaType = ocispecs.MediaTypeImageManifest
		}
		index, err := json.Marshal(ocispecs.Index{Versioned: r.manifest.Versioned, Manifests: []ocispecs.Descriptor{desc}})
		if err != nil {
			return fmt.Errorf("relaying %q: %w", r.ref, err)
		}
		write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
		write("index.json", index)
		write("blobs/sha256/"+desc.Digest.Encoded(), r.raw)
		// It is named after the path, which must be one that a name may have.
		fmt.Fprintf(&script, "cd \"$d\" && %s \"oci:$n\" >/dev/null || exit\n%s \"localhost/$n\"\n", f.command("pull", "--quiet"), f.command("untag"))
	} else {
		type entry struct {
			Config   string
			RepoTags []string
			Layers   []string
		}
		e := entry{Config: r.manifest.Config.Digest.Encoded() + ".json"}
		for _, l := range r.manifest.Layers {
			e.Layers = append(e.Layers, l.Digest.Encoded())
		}
		list, err := json.Marshal([]entry{e})
		if err != nil {
			return fmt.Errorf("relaying %q: %w", r.ref, err)
		}
		for i, b := range blobs {
			name := b.Digest.Encoded()
			if i == 0 {
				name = e.Config
			}
			fmt.Fprintf(&script, "put %s \"$l/%s\" || exit 73\n", b.Digest.Encoded(), name)
		}
		write("manifest.json", list)
		fmt.Fprintf(&script, "tar -C \"$l\" -cf - . | %s >/dev/null || exit\n", f.command("load"))
	}
	o, err := d.steady(ctx, script.String())
	if err != nil {
		return err
	}
	if o.code != 0 {
		return pullReason(string(o.stderr))
	}
	return nil
}

// clearSpool removes the blobs of an image that the runtime has.
func (d *Device) clearSpool(ctx context.Context, r *relayed) error {
	script := spool
	for _, b := range append([]ocispecs.Descriptor{r.manifest.Config}, r.manifest.Layers...) {
		script += fmt.Sprintf("\nrm -f \"$d/%[1]s\" \"$d/%[1]s\".*", b.Digest.Encoded())
	}
	_, err := d.steady(ctx, script)
	return err
}
