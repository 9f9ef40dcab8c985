package device

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// Facts are what a device said about itself.
type Facts struct {
	// HostKey is the key it showed, such as "ssh-ed25519 SHA256:…"; "" without SSH.
	HostKey string `json:"hostKey,omitempty"`
	// Kernel is `uname -sr`, Machine `uname -m`, Processor the model's name.
	Kernel    string `json:"kernel"`
	Machine   string `json:"machine"`
	Processor string `json:"processor,omitempty"`
	// Platform is what it is used for: the declared platform, else what its
	// runtime takes by itself, else what its processor runs.
	Platform string `json:"platform"`
	// Native are the platforms that its processor runs without emulation.
	Native []string `json:"native"`
	// Natural is the platform that its runtime takes from an index by itself;
	// "" where that is not known.
	Natural string `json:"natural,omitempty"`
	// Runtime is docker, podman or nerdctl.
	Runtime        string `json:"runtime"`
	RuntimeVersion string `json:"runtimeVersion"`
	// Masks are emulators registered with the kernel (binfmt_misc): they let a
	// binary for the wrong processor run unnoticed.
	Masks []string `json:"masks,omitempty"`
	// Free is the space where the runtime keeps images, in bytes; -1 where it
	// is not known.
	Free int64 `json:"free"`
	// Clock is how far the device's clock is ahead of this machine's, in
	// whole seconds.
	Clock time.Duration `json:"clock"`

	platform ocispecs.Platform
	engine   engine
}

// Emulates says whether a container of the platform runs under emulation.
func (f *Facts) Emulates(p ocispecs.Platform) bool {
	return !slices.Contains(f.Native, config.FormatPlatform(p))
}

// OCI is Platform in its parts.
func (f *Facts) OCI() ocispecs.Platform { return f.platform }

// probeScript asks for everything in one go. Each answer is a line key=value.
const probeScript = `
say() { printf '%s=%s\n' "$1" "$2"; }
say time "$(date +%s)"
say kernel "$(uname -sr)"
say machine "$(uname -m)"
sed -n 's/^\(model name\|Processor\|Model\)[[:space:]]*: */model=/p' /proc/cpuinfo 2>/dev/null | head -n 1
sed -n 's/^\(Features\|flags\)[[:space:]]*: */features=/p' /proc/cpuinfo 2>/dev/null | head -n 1
setarch linux32 true >/dev/null 2>&1 && say compat32 yes
for f in $(grep -sl '^interpreter.*qemu' /proc/sys/fs/binfmt_misc/* | xargs grep -sl '^enabled' /dev/null); do say mask "${f##*/}"; done
say default "$DOCKER_DEFAULT_PLATFORM"
say path "$PATH"
sudo=@SUDO@
run() {
  if [ -n "$h" ]; then env DOCKER_HOST="$h" "$p" "$@"; else $sudo "$p" "$@"; fi
}
# The answer of $r is what it prints on stdout. On stderr it may warn as well.
ask() {
  case "$r" in
    docker)  run version --format '{{.Server.Version}} {{.Server.Arch}}' ;;
    podman)  run info --format '{{.Version.Version}} {{.Host.Arch}} {{.Store.GraphRoot}}' ;;
    nerdctl) run version --format '{{.Client.Version}}' && run info --format '{{.Architecture}} /var/lib/containerd' ;;
  esac
}
for r in @RUNTIMES@; do
  p=@PROGRAM@ h=
  [ -n "$p" ] || p=$(command -v "$r" 2>/dev/null) || continue
  [ -x "$p" ] || continue
  v=$(ask 2>/dev/null)
  rc=$?
  # Rootless Docker and those of desktops have sockets that only a context, or a
  # login shell's DOCKER_HOST, would name.
  if [ $rc -ne 0 ] && [ "$r" = docker ] && [ -z "$DOCKER_HOST$sudo" ] &&
    [ "$(run context inspect --format '{{.Name}}' 2>/dev/null)" = default ]; then
    for s in "$XDG_RUNTIME_DIR/docker.sock" "$HOME/.docker/run/docker.sock" "$HOME/.docker/desktop/docker.sock" \
      "$HOME/.colima/default/docker.sock" "$HOME/.orbstack/run/docker.sock" "$HOME/.rd/docker.sock"; do
      [ -S "$s" ] || continue
      h=unix://$s
      v=$(ask 2>/dev/null)
      rc=$?
      [ $rc -eq 0 ] && break
      h=
    done
  fi
  if [ $rc -ne 0 ]; then
    say refused "$r $(ask 2>&1 | tr '\n' ' ')"
    [ -z "$sudo" ] && sudo -n -l "$p" >/dev/null 2>&1 && say sudoable yes
    grep -q "^$r:" /etc/group 2>/dev/null && say group yes
    [ -z "$XDG_RUNTIME_DIR" ] && say session no
    continue
  fi
  say program "$p"
  say endpoint "$h"
  if [ "$r" = docker ]; then
    say context "$(run context inspect --format '{{.Name}}' 2>/dev/null)"
    v="$v $(run info --format '{{.DockerRootDir}}' 2>/dev/null)"
  fi
  v=$(printf %s "$v" | tr '\n' ' ')
  say runtime "$r $v"
  root=/${v#*/}; root=${root% }
  while [ ! -e "$root" ]; do root=${root%/*}; root=${root:-/}; done
  say free "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
  break
done
exit 0
`

// Probe connects, if need be, and asks the device what it is. The answer is
// kept until Close.
func (d *Device) Probe(ctx context.Context) (*Facts, error) {
	if err := d.Connect(ctx); err != nil {
		return nil, err
	}
	if d.facts != nil {
		return d.facts, nil
	}
	bounded, cancel := context.WithTimeoutCause(ctx, questions*d.connectTimeout(), errNoAnswer)
	defer cancel()
	begin := time.Now()
	o, err := d.script(bounded, probe(d.Spec))
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	f, err := readFacts(string(o.stdout), d.Spec)
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	if f.Clock != 0 {
		f.Clock = (f.Clock - time.Duration(begin.Unix())*time.Second).Truncate(time.Second)
	}
	f.HostKey = d.link.hostKey()
	d.facts = f
	return f, nil
}

// questions is how many times a probe may take what a connection may: a small
// board starts a runtime's client several times.
const questions = 4

func probe(spec *config.Device) string {
	runtimes, sudo := "docker podman nerdctl", ""
	if spec.Runtime != "" {
		runtimes = quote(spec.Runtime)
	}
	if spec.Sudo {
		sudo = "sudo -n"
	}
	return strings.NewReplacer("@RUNTIMES@", runtimes, "@SUDO@", quote(sudo), "@PROGRAM@", quote(spec.Path)).Replace(probeScript)
}

// readFacts reads the answers. Clock is the device's own time as yet.
func readFacts(text string, spec *config.Device) (*Facts, error) {
	f := &Facts{Free: -1, engine: engine{sudo: spec.Sudo}}
	var features, fallback, runtimeArch string
	var no refusal
	compat32 := false
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		value = clip(strings.TrimSpace(value))
		switch key {
		case "time":
			s, _ := strconv.ParseInt(value, 10, 64)
			f.Clock = time.Duration(s) * time.Second
		case "kernel":
			f.Kernel = value
		case "machine":
			f.Machine = value
		case "model":
			f.Processor = value
		case "features":
			_, features, _ = strings.Cut(line, "=") // longer than what is shown
		case "compat32":
			compat32 = true
		case "mask":
			f.Masks = append(f.Masks, value)
		case "default":
			fallback = value
		case "refused":
			if no.said == "" {
				no.said = value
			}
		case "path":
			no.path = value
		case "sudoable":
			no.sudoable = true
		case "group":
			no.group = true
		case "session":
			no.session = true
		case "program":
			f.engine.program = value
		case "endpoint":
			f.engine.endpoint = value
		case "context":
			f.engine.context = value
		case "runtime":
			words := strings.Fields(value)
			for len(words) < 3 {
				words = append(words, "")
			}
			f.Runtime, f.RuntimeVersion, runtimeArch = words[0], words[1], words[2]
		case "free":
			if kb, err := strconv.ParseInt(value, 10, 64); err == nil {
				f.Free = kb << 10
			}
		}
	}
	native := runnable(nativePlatforms(f.Machine, features, compat32), runtimeArch, spec.Platform)
	for _, p := range native {
		f.Native = append(f.Native, config.FormatPlatform(p))
	}
	if f.Runtime == "" {
		return nil, no.explain(spec)
	}
	switch {
	case fallback != "" && f.Runtime == "docker":
		p, err := config.ParsePlatform(fallback)
		if err != nil {
			return nil, &Error{Kind: WrongPlatform, Err: fmt.Errorf("its DOCKER_DEFAULT_PLATFORM: %w", err), Hint: "fix the variable on the device, or give the device its platform in targets.hcl"}
		}
		f.platform, f.Natural = p, config.FormatPlatform(p)
	case len(native) > 0:
		f.platform = preferred(native, runtimeArch)
		f.Natural = config.FormatPlatform(f.platform)
	case spec.Platform == nil:
		return nil, &Error{Kind: WrongPlatform, Err: fmt.Errorf("its machine %q is none that is known here", f.Machine), Hint: "give the device its platform in targets.hcl"}
	}
	if spec.Platform != nil {
		f.platform = *spec.Platform
	}
	f.Platform = config.FormatPlatform(f.platform)
	return f, nil
}

// refusal is what a device told that has no runtime for us.
type refusal struct {
	// said is the first runtime's name and its words; "" where there is none.
	said string
	// path is where was looked.
	path string
	// sudoable says that the account may run it by sudo, and group that the
	// device has a group of the runtime's name.
	sudoable, group bool
	// session says that the login has no runtime directory.
	session bool
}

func (r refusal) explain(spec *config.Device) error {
	if r.said == "" {
		what := "docker, podman or nerdctl"
		if spec.Runtime != "" {
			what = spec.Runtime
		}
		if spec.Path != "" {
			return &Error{Kind: NoRuntime, Err: fmt.Errorf("%s is no program that the account may run", spec.Path), Hint: "correct the device's path in targets.hcl: `ls -l " + spec.Path + "` on the device shows what is there"}
		}
		return &Error{Kind: NoRuntime, Err: fmt.Errorf("there is no %s in %s", what, r.path), Hint: "install one on the device, or say where it is: path = \"/opt/bin/docker\""}
	}
	name, said, _ := strings.Cut(r.said, " ")
	e := &Error{Kind: NoRuntime, Err: fmt.Errorf("%s: %s", name, said), Hint: "start its service on the device and see what `" + name + " version` says there"}
	switch {
	case spec.Sudo:
		e.Err = fmt.Errorf("sudo %s: %s", name, said)
		e.Hint = "`sudo -n " + name + " version` must work on the device: a line such as `USER ALL=(root) NOPASSWD: /usr/bin/" + name + "` in its sudoers, with the path of the program (visudo)"
	case r.sudoable:
		e.Err = fmt.Errorf("the user may not use %s, except with sudo: %s", name, said)
		e.Hint = "give the device sudo = true in targets.hcl"
	case strings.Contains(said, "permission denied"):
		e.Err = fmt.Errorf("the user may not use %s: %s", name, said)
		e.Hint = "allow it on the device: a sudoers line `USER ALL=(root) NOPASSWD: PATH-OF-" + strings.ToUpper(name) + "` and sudo = true in targets.hcl; or use podman without root"
		if r.group {
			e.Hint = "allow it on the device: `sudo usermod -aG " + name + " USER`, then log in again; or sudo = true in targets.hcl, with a sudoers line; or use podman without root"
		}
	case name == "podman" && r.session:
		e.Hint = "the login has no runtime directory: as root on the device, `loginctl enable-linger USER`, or `UsePAM yes` in its sshd_config"
	}
	return e
}
