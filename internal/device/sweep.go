package device

import (
	"context"
	"strings"
)

// sweepScript removes containers of ours that nobody waits for, and gives up
// images: those of runs of this workspace that have ended, and those of others
// whose time is over.
const sweepScript = `
now=$(date +%s)
# over OWNER RUN UNTIL: nobody waits for it.
over() {
  case "$3" in ''|*[!0-9]*) set -- "$1" "$2" 0 "$4" ;; esac
  [ "$3" -lt "$now" ] && return 0
  [ "$1" = "$4" ] || return 1
  [ -n "$2" ] || return 0
  case @LIVE@ in *" $2 "*) return 1 ;; esac
  return 0
}
for c in $(@RT@ ps -a -q --filter label=build.archmage=smoke 2>/dev/null); do
  # What cannot be read, for it comes or goes this moment, is somebody's.
  labels=$(@RT@ inspect --format '{{index .Config.Labels "build.archmage.until"}}|{{index .Config.Labels "build.archmage.run"}}|{{index .Config.Labels "build.archmage.owner"}}' "$c" 2>/dev/null) || continue
  [ -n "$labels" ] || continue
  until=${labels%%|*} labels=${labels#*|}
  if over "${labels#*|}" "${labels%%|*}" "$until" @OWNER@; then
    @RT@ rm -f -v "$c" >/dev/null 2>&1 && echo "$c"
  fi
done
for i in $(@RT@ image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null); do
  case "$i" in @HELD@:*-*-*-*) ;; *) continue ;; esac
  tag=${i#@HELD@:}
  owner=${tag%%-*} tag=${tag#*-}
  run=${tag%%-*} tag=${tag#*-}
  if over "$owner" "$run" "${tag%%-*}" @WORD@; then
    @RT@ rmi "$i" >/dev/null 2>&1
  fi
done
` + spool + `
[ -d "$d" ] && find "$d" -mtime +2 -exec rm -rf {} + 2>/dev/null
exit 0
`

// Sweep removes containers, and gives up images, that an interrupted run of this
// workspace left on this device, and those of others whose time is over. It
// returns the IDs of the containers.
func (d *Device) Sweep(ctx context.Context) ([]string, error) {
	f, err := d.Probe(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, 2*d.connectTimeout(), errNoAnswer)
	defer cancel()
	o, err := d.steady(bounded, strings.NewReplacer(
		"@RT@", f.command(), "@OWNER@", quote(d.owner()), "@WORD@", quote(d.ownerWord()), "@HELD@", holdRepository,
		"@LIVE@", quote(" "+strings.Join(d.live(), " ")+" "),
	).Replace(sweepScript))
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	return strings.Fields(string(o.stdout)), nil
}
