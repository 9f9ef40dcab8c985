package device

import (
	"context"
	"strings"
)

// sweepScript removes containers of ours that nobody waits for: those of this
// workspace, and those of others whose time is over.
const sweepScript = `
now=$(date +%s)
for c in $(@RT@ ps -a -q --filter label=build.archmage=smoke 2>/dev/null); do
  # What cannot be read, for it comes or goes this moment, is somebody's.
  labels=$(@RT@ inspect --format '{{index .Config.Labels "build.archmage.until"}} {{index .Config.Labels "build.archmage.owner"}}' "$c" 2>/dev/null) || continue
  set -- $labels
  [ $# -gt 0 ] || continue
  case "$1" in ''|*[!0-9]*) until=0 ;; *) until=$1 ;; esac
  if [ "$2" = @OWNER@ ] || [ "$until" -lt "$now" ]; then
    @RT@ rm -f -v "$c" >/dev/null 2>&1 && echo "$c"
  fi
done
exit 0
`

// Sweep removes containers that an interrupted run of this workspace left on this device, and
// those of others whose time is over. It gives their IDs.
func (d *Device) Sweep(ctx context.Context) ([]string, error) {
	f, err := d.Probe(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, 2*d.opts.Connect, errNoAnswer)
	defer cancel()
	o, err := d.script(bounded, strings.NewReplacer("@RT@", quote(f.Runtime), "@OWNER@", quote(d.owner())).Replace(sweepScript))
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	return strings.Fields(string(o.stdout)), nil
}
