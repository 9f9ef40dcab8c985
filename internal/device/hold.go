package device

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A pulled image gets a second name for as long as its run uses it, which tells
// whose it is and until when: labels cannot be given to what others built, and
// a repository's own names may be removed by any other run.
//
//	archmage.invalid/held:OWNER-RUN-UNTIL-IMAGE
const holdRepository = "archmage.invalid/held"

// holdTime is how long an image is held whose run has not ended in order, by the
// device's clock.
const holdTime = 2 * time.Hour

// holdPrefix is what the names begin with that this run gives on this device.
func (d *Device) holdPrefix() string {
	return holdRepository + ":" + d.ownerWord() + "-" + d.runWord() + "-"
}

// ownerWord is owner in the letters of a tag, and runWord is Options.Run.
func (d *Device) ownerWord() string {
	sum := sha256.Sum256([]byte(d.owner()))
	return hex.EncodeToString(sum[:8])
}

func (d *Device) runWord() string {
	if d.opts.Run == "" {
		return "0"
	}
	return d.opts.Run
}

// holdName is a shell word for the name of one more image.
func (d *Device) holdName() (string, error) {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("naming an image: %w", err)
	}
	return quote(d.holdPrefix()) + fmt.Sprintf("$(($(date +%%s) + %d))-", int(holdTime/time.Second)) + hex.EncodeToString(id[:]), nil
}

// live are the runs of this workspace, but this one, that are under way.
func (d *Device) live() []string {
	if d.opts.Live == nil {
		return nil
	}
	return slices.DeleteFunc(d.opts.Live(), func(run string) bool { return run == d.opts.Run })
}

// inUse reports whether name holds an image for another run that is under way,
// or may be as far as can be told from here.
func (d *Device) inUse(name string, live []string, now int64) bool {
	tag, ok := strings.CutPrefix(name, holdRepository+":")
	if !ok {
		return false
	}
	parts := strings.Split(tag, "-")
	if len(parts) != 4 {
		return false
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || until < now {
		return false
	}
	return parts[0] != d.ownerWord() || slices.Contains(live, parts[1])
}

// isHold reports whether a name is one of these.
func isHold(name string) bool { return strings.HasPrefix(name, holdRepository+":") }

// dropHolds gives up what this run holds on the device.
func (d *Device) dropHolds(ctx context.Context, f *Facts) error {
	_, err := d.script(ctx, fmt.Sprintf(`
for i in $(%[1]s image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null); do
  case "$i" in %[2]s*) %[1]s rmi "$i" >/dev/null 2>&1 ;; esac
done
exit 0
`, f.command(), quote(d.holdPrefix())))
	return err
}
