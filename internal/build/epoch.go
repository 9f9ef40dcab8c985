package build

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/archmage-build/archmage/internal/plan"
)

// Epoch is the time of a release: SOURCE_DATE_EPOCH where it is set, else the
// commit time of a clean git checkout, else nil. SOURCE_DATE_EPOCH="" asks for
// none. See https://reproducible-builds.org/specs/source-date-epoch/.
func (c *Checkout) Epoch(lookup func(string) (string, bool)) (*time.Time, error) {
	v, ok := lookup("SOURCE_DATE_EPOCH")
	if !ok {
		if c.Commit == "" || c.Dirty {
			return nil, nil
		}
		return &c.Time, nil
	}
	t, err := parseEpoch(v)
	if err != nil {
		return nil, fmt.Errorf("reading the environment variable SOURCE_DATE_EPOCH: %w; unset it, or set it to what `git log -1 --format=%%ct` prints", err)
	}
	return t, nil
}

// parseEpoch reads seconds since 1970; "" is nil.
func parseEpoch(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%q is no number of seconds since 1970", text)
	}
	t := time.Unix(n, 0).UTC()
	return &t, nil
}

// epoch is the time for one build: its own SOURCE_DATE_EPOCH argument, or the
// release's. It is called on builds that passed attrs.
func epoch(b *plan.Build, o Options) *time.Time {
	own := b.Spec.Args["SOURCE_DATE_EPOCH"]
	if own == nil {
		return o.Epoch
	}
	t, err := parseEpoch(*own)
	if err != nil {
		return nil
	}
	return t
}

// layerEpoch is what the times in the layers are lowered to. It is before all
// that a clock may say while building, so that a layer comes out the same
// whenever it was made: BuildKit's rewrite-timestamp lowers times and never
// raises them, and a cached layer has those of the day it was built. A day into
// 1980 it can still be written in a zip archive, in every time zone.
var layerEpoch = time.Date(1980, time.January, 2, 0, 0, 0, 0, time.UTC)

// layers is the time for the files in the layers of b, nil to leave them.
func layers(b *plan.Build, o Options) *time.Time {
	t := epoch(b, o)
	if t == nil || t.Before(layerEpoch) {
		return t // nothing may be later than SOURCE_DATE_EPOCH
	}
	return &layerEpoch
}

// created is the time that the image's configuration bears, nil to leave that to
// BuildKit: the target's own output may say another.
func created(b *plan.Build, o Options) *time.Time {
	for _, e := range b.Spec.Outputs {
		if own, ok := e["source-date-epoch"]; ok {
			t, err := parseEpoch(own)
			if err != nil {
				return nil // BuildKit says so
			}
			return t
		}
	}
	return epoch(b, o)
}

// argument is the SOURCE_DATE_EPOCH that the frontend is given. It writes the
// value into the steps of WORKDIR, so that a Dockerfile that does not ask for it
// gets one that stays the same from commit to commit, as its cache does then.
func argument(b *plan.Build, o Options) string {
	t := epoch(b, o)
	if t == nil {
		return ""
	}
	if !mentionsEpoch(b, o) {
		t = layers(b, o)
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// mentionsEpoch reports whether the Dockerfile names SOURCE_DATE_EPOCH, or
// cannot be read here.
func mentionsEpoch(b *plan.Build, o Options) bool {
	at := Locate(b.Spec, o.Dir)
	text := []byte(at.Inline)
	if at.Inline == "" {
		var err error
		if text, err = os.ReadFile(at.Path()); err != nil {
			return true
		}
	}
	return bytes.Contains(text, []byte("SOURCE_DATE_EPOCH"))
}
