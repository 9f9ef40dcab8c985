package device

import (
	"context"
	"errors"
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
# The answer of $r is what it prints on stdout. On stderr it may warn as well.
ask() {
  case "$r" in
    docker)  docker version --format '{{.Server.Version}} {{.Server.Arch}}' ;;
    podman)  podman info --format '{{.Version.Version}} {{.Host.Arch}} {{.Store.GraphRoot}}' ;;
    nerdctl) nerdctl version --format '{{.Client.Version}}' && nerdctl info --format '{{.Architecture}} /var/lib/containerd' ;;
  esac
}
for r in @RUNTIMES@; do
  command -v "$r" >/dev/null 2>&1 || continue
  v=$(ask 2>/dev/null)
  if [ $? -ne 0 ]; then say refused "$r $(ask 2>&1 | tr '\n' ' ')"; continue; fi
  [ "$r" = docker ] && v="$v $(docker info --format '{{.DockerRootDir}}' 2>/dev/null)"
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
	runtimes := "docker podman nerdctl"
	if d.Spec.Runtime != "" {
		runtimes = quote(d.Spec.Runtime)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, d.opts.Connect, errNoAnswer)
	defer cancel()
	begin := time.Now()
	o, err := d.script(bounded, strings.Replace(probeScript, "@RUNTIMES@", runtimes, 1))
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

// readFacts reads the answers. Clock is the device's own time as yet.
func readFacts(text string, spec *config.Device) (*Facts, error) {
	f := &Facts{Free: -1}
	var features, fallback, refused, runtimeArch string
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
			if refused == "" {
				refused = value
			}
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
	native := nativePlatforms(f.Machine, features, compat32)
	for _, p := range native {
		f.Native = append(f.Native, config.FormatPlatform(p))
	}
	if f.Runtime == "" {
		return nil, noRuntime(spec, refused)
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

func noRuntime(spec *config.Device, refused string) error {
	if refused == "" {
		what := "docker, podman or nerdctl"
		if spec.Runtime != "" {
			what = spec.Runtime
		}
		return &Error{Kind: NoRuntime, Err: errors.New("there is no " + what), Hint: "install one on the device, or name another in targets.hcl: runtime = \"podman\""}
	}
	name, said, _ := strings.Cut(refused, " ")
	e := &Error{Kind: NoRuntime, Err: fmt.Errorf("%s: %s", name, said), Hint: "start its service on the device and see what `" + name + " version` says there"}
	if strings.Contains(said, "permission denied") {
		e.Err = fmt.Errorf("the user may not use %s: %s", name, said)
		e.Hint = "allow it on the device: `sudo usermod -aG " + name + " USER`, then log in anew; or use podman without root"
	}
	return e
}
