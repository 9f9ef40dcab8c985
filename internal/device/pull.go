package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// PullRequest names an image in a registry.
type PullRequest struct {
	// Ref has a digest, and may have a tag instead only to see what that gives.
	Ref string
	// Platform the image must be for.
	Platform ocispecs.Platform
	// Insecure allows plain HTTP and unknown certificates, where the runtime
	// takes that as an option (podman, nerdctl). Loopback always does.
	Insecure bool
	// Probe is a digest that the registry surely has; "" is that of Ref.
	Probe digest.Digest
}

// Image is what the runtime of a device says of an image it has.
type Image struct {
	// ID is the digest of its config or, in newer stores, of its manifest.
	ID       digest.Digest
	Platform ocispecs.Platform
	// DiffIDs are the digests of its unpacked layers, and Created its date:
	// what tells images apart where IDs are of different kinds.
	DiffIDs []string
	Created string
}

// Same says whether both are the same image, whatever their IDs are digests of.
func (i Image) Same(o Image) bool {
	if i.ID == o.ID {
		return true
	}
	return len(i.DiffIDs) > 0 && slices.Equal(i.DiffIDs, o.DiffIDs) && i.Created == o.Created &&
		i.Platform.Architecture == o.Platform.Architecture
}

var errPullTimeout = errors.New("the pull took longer than pull_timeout")

// Pull pulls an image and says what the device now has.
func (d *Device) Pull(ctx context.Context, req PullRequest) (Image, error) {
	image, err := d.pull(ctx, req)
	if err != nil {
		return Image{}, d.explain(ctx, err)
	}
	return image, nil
}

func (d *Device) pull(ctx context.Context, req PullRequest) (Image, error) {
	f, err := d.Probe(ctx)
	if err != nil {
		return Image{}, err
	}
	named, err := reference.ParseNormalizedNamed(req.Ref)
	if err != nil {
		return Image{}, fmt.Errorf("parsing %q: %w", req.Ref, err)
	}
	limit := d.Spec.PullTimeout
	if limit == 0 {
		limit = 10 * time.Minute
	}
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() { cancel(errPullTimeout) })
	defer timer.Stop()
	if digested, ok := named.(reference.Digested); ok && req.Probe == "" {
		req.Probe = digested.Digest()
	}
	hold, err := d.holdName()
	if err != nil {
		return Image{}, err
	}
	d.holding = true
	o, err := d.pullOnce(bounded, f, req, named, hold)
	if IsLost(err) && d.opts.Images != nil {
		o, err = d.pullOn(bounded, f, req, named, hold, func() { timer.Reset(limit) })
	}
	if err != nil {
		return Image{}, pullEnded(bounded, ctx, err)
	}
	if o.code != 0 {
		return Image{}, pullReason(string(o.stderr))
	}
	return readImage(o.stdout)
}

// pullOn goes on with a pull that a lost connection ended. What is pulled by the
// digest of an image is relayed first, so that the runtime has but to look.
func (d *Device) pullOn(ctx context.Context, f *Facts, req PullRequest, named reference.Named, hold string, alive func()) (outcome, error) {
	if err := d.reconnect(ctx); err != nil {
		return outcome{}, err
	}
	if err := d.relay(ctx, f, named.Name()+"@"+req.Probe.String(), alive); err != nil && !errors.Is(err, errNoImage) {
		return outcome{}, err
	}
	var o outcome
	err := d.lasting(ctx, func() (err error) {
		o, err = d.pullOnce(ctx, f, req, named, hold)
		return err
	})
	return o, err
}

func (d *Device) pullOnce(ctx context.Context, f *Facts, req PullRequest, named reference.Named, hold string) (outcome, error) {
	host := reference.Domain(named)
	if err := d.reach(ctx, host, named.Name(), req.Probe); err != nil {
		return outcome{}, err
	}
	lent, err := d.lend(ctx, f, host, named.Name())
	if err != nil {
		return outcome{}, err
	}
	return d.script(ctx, lent+pullScript(f, req, hold, lent != "", req.Insecure || config.Loopback(host)))
}

func pullEnded(bounded, ctx context.Context, err error) error {
	if errors.Is(context.Cause(bounded), errPullTimeout) && ctx.Err() == nil {
		return &Error{Kind: PullTimeout, Err: errPullTimeout, Hint: "give the device a longer pull_timeout, or look at its network"}
	}
	return err
}

// pullScript ends the pull when the connection ends. Another run may remove the
// image before it is held; then it is pulled once more.
func pullScript(f *Facts, req PullRequest, hold string, lent, insecure bool) string {
	return fmt.Sprintf(`
hold=%[3]s
tries=0
until
  %[1]s >/dev/null 3<&- & p=$!
  ( while read -r _ <&3; do :; done; kill "$p" ) >/dev/null 2>&1 & l=$!
  wait "$p"; rc=$?
  kill "$l" 2>/dev/null
  wait "$l" 2>/dev/null
  [ "$rc" = 0 ] || exit "$rc"
  said=$(%[2]s tag %[4]s "$hold" 2>&1)
do
  tries=$((tries+1))
  [ "$tries" -lt 3 ] || { printf '%%s\n' "$said" >&2; exit 1; }
done
%[2]s image inspect "$hold"
`, f.pullCommand(req, lent, insecure), f.command(), hold, quote(req.Ref))
}

// readImage reads what `image inspect` prints. The three runtimes agree on
// these fields, but for the variant, which podman leaves out.
func readImage(raw []byte) (Image, error) {
	var list []struct {
		ID           string `json:"Id"`
		Os           string
		Architecture string
		Variant      string
		Created      string
		RootFS       struct{ Layers []string }
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return Image{}, fmt.Errorf("reading what the runtime says of the image: %w", err)
	}
	if len(list) != 1 {
		return Image{}, fmt.Errorf("reading what the runtime says of the image: it names %d", len(list))
	}
	i := list[0]
	return Image{
		ID: identity(i.ID), DiffIDs: i.RootFS.Layers, Created: i.Created,
		Platform: ocispecs.Platform{OS: i.Os, Architecture: i.Architecture, Variant: i.Variant},
	}, nil
}

// identity is an image ID as a digest: podman leaves the algorithm out.
func identity(id string) digest.Digest {
	if id != "" && !strings.Contains(id, ":") {
		id = "sha256:" + id
	}
	return digest.Digest(id)
}
