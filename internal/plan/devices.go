package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/oci"
)

// checkDevices refuses demands of require_devices that no run could meet, and
// warns of smoke blocks that no device can serve and of devices that serve
// none.
func (p *planner) checkDevices() {
	p.checkDemands()
	p.checkAddresses()
	for _, t := range p.plan.Published() {
		for i, s := range t.Spec.Smokes {
			if len(t.Tags) > 0 && !p.served(t, s) {
				p.warn(s.Where(), "Smoke block without a device", "%s", p.unserved(t, i))
			}
		}
	}
	all := p.config.Everything()
	for _, d := range p.plan.Devices {
		if !slices.ContainsFunc(all, func(t *config.Target) bool { return p.uses(d, t) }) {
			p.warn(d.Where("platform"), "Device that proves nothing",
				"No target has a smoke block that device %q can run. Give a target that is built for it one, such as smoke { command = [\"--version\"] }, or remove the device.", d.Name)
		}
	}
}

// checkAddresses refuses registries that the devices' runtimes cannot name.
func (p *planner) checkAddresses() {
	if !p.plan.Release.Prove {
		return
	}
	for _, t := range p.plan.Published() {
		for i, tag := range t.Tags {
			if !oci.IPv6Registry(Host(tag.Repository)) {
				continue
			}
			for _, d := range p.plan.Devices {
				if d.Worker != "" || !slices.ContainsFunc(t.Spec.Smokes, func(s *config.Smoke) bool { return p.serves(d, t.declaredPlatforms(), s) }) {
					continue
				}
				p.fail(t.Spec.Where("tags", t.Spec.Tags[min(i, len(t.Spec.Tags)-1)]), "IPv6 address as registry",
					"Device %q would have to pull %s, and container runtimes (Docker 20.10 and podman 4.3 among them) take no IPv6 address in a reference. Give the registry a name, in DNS or /etc/hosts, and write that.", d.Name, tag)
				return
			}
		}
	}
}

// checkDemands holds every published target that is built for a required
// platform against the devices there are.
func (p *planner) checkDemands() {
	r := p.plan.Release
	for i, required := range r.RequireDevices {
		name := config.FormatPlatform(required)
		for _, t := range p.plan.Published() {
			if len(t.Tags) == 0 || !contains(t.declaredPlatforms(), required) {
				continue
			}
			if !r.Prove {
				p.fail(r.Where("require_devices", i), "Required, and not to be proven",
					"require_devices demands that target %q runs on a device for %s, and prove = false that nothing runs. Remove one of them.", t.Name, name)
				continue
			}
			if len(t.Spec.Smokes) == 0 {
				p.fail(t.Spec.Where("platforms", name), "Required platform without a smoke block",
					"Target %q is built for %s, which require_devices demands to run on a device, but it has no smoke block to run. Add one, such as smoke { command = [\"--version\"] }, or take %s out of require_devices.", t.Name, name, name)
				continue
			}
			for n, s := range t.Spec.Smokes {
				if slices.ContainsFunc(p.plan.Devices, func(d *config.Device) bool { return p.mayRun(d, required, s) }) {
					continue
				}
				p.fail(r.Where("require_devices", i), "Required platform without a device",
					"require_devices demands that target %q runs on a device for %s, and no device can run %s there%s. Add a device for it, such as device \"NAME\" { host = \"pi@NAME.lan\", platform = %q }, or take %s out of require_devices.",
					t.Name, name, caseOf(n, s), p.devicesText(), name, name)
				break
			}
		}
	}
}

// mayRun reports whether a device may run a case on a platform, as far as is
// declared: a device that is not declared to be for a platform is asked when
// it is used, and may be for any.
func (p *planner) mayRun(d *config.Device, pl ocispecs.Platform, s *config.Smoke) bool {
	if d.Worker != "" && s.HTTP != nil {
		return false // nothing reaches into the sandbox of a worker
	}
	if d.Platform != nil {
		return config.FormatPlatform(*d.Platform) == config.FormatPlatform(pl)
	}
	for _, w := range p.plan.Workers {
		if d.Worker == w.Name && len(w.Platforms) > 0 {
			return contains(w.Platforms, pl)
		}
	}
	return true
}

// served reports whether a device may run a case of a target on any of its
// platforms.
func (p *planner) served(t *Target, s *config.Smoke) bool {
	return slices.ContainsFunc(p.plan.Devices, func(d *config.Device) bool { return p.serves(d, t.declaredPlatforms(), s) })
}

// serves reports whether a device may run a case on any of the platforms; nil
// are platforms that are not known yet.
func (p *planner) serves(d *config.Device, platforms []ocispecs.Platform, s *config.Smoke) bool {
	if platforms == nil {
		return d.Worker == "" || s.HTTP == nil
	}
	return slices.ContainsFunc(platforms, func(pl ocispecs.Platform) bool { return p.mayRun(d, pl, s) })
}

func (p *planner) uses(d *config.Device, t *config.Target) bool {
	platforms := t.PlatformSpecs()
	if len(t.Sources) > 0 && len(t.Platforms) == 0 {
		platforms = nil
	}
	return slices.ContainsFunc(t.Smokes, func(s *config.Smoke) bool { return p.serves(d, platforms, s) })
}

// unserved says why nobody runs a case.
func (p *planner) unserved(t *Target, n int) string {
	s := t.Spec.Smokes[n]
	if len(p.plan.Devices) == 0 {
		return fmt.Sprintf("Target %q has a smoke block and there is no device, so nothing is run. Add one, such as device \"here\" { host = \"local\" }.", t.Name)
	}
	return fmt.Sprintf("No device can run %s of target %q%s. Add a device for one of its platforms (%s), or remove the block.", caseOf(n, s), t.Name, p.devicesText(), platformText(t.declaredPlatforms()))
}

// caseOf names a case for people.
func caseOf(n int, s *config.Smoke) string {
	what := fmt.Sprintf("smoke block %d", n+1)
	if s.Name != "" {
		what = fmt.Sprintf("the smoke block %q", s.Name)
	}
	if s.HTTP != nil {
		what += " (its http check needs a device with a container runtime, not a worker)"
	}
	return what
}

// devicesText lists the devices with what they are declared for.
func (p *planner) devicesText() string {
	var have []string
	for _, d := range p.plan.Devices {
		have = append(have, d.Name+" ("+p.deviceText(d)+")")
	}
	if len(have) == 0 {
		return ": there is none"
	}
	return ": there are " + strings.Join(have, ", ")
}

func (p *planner) deviceText(d *config.Device) string {
	kind := ""
	if d.Worker != "" {
		kind = "worker " + d.Worker + ", "
	}
	if d.Platform != nil {
		return kind + config.FormatPlatform(*d.Platform)
	}
	for _, w := range p.plan.Workers {
		if d.Worker == w.Name && len(w.Platforms) > 0 {
			return kind + platformText(w.Platforms)
		}
	}
	return kind + "its platform is asked"
}

func platformText(platforms []ocispecs.Platform) string {
	var names []string
	for _, pl := range platforms {
		names = append(names, config.FormatPlatform(pl))
	}
	if len(names) == 0 {
		return "those of its sources"
	}
	return strings.Join(names, ", ")
}

// declaredPlatforms are those that the target will have in this plan; nil where
// its sources tell.
func (t *Target) declaredPlatforms() []ocispecs.Platform {
	if len(t.Sources) > 0 {
		return t.Platforms
	}
	out := make([]ocispecs.Platform, 0, len(t.Builds))
	for _, b := range t.Builds {
		out = append(out, b.Platform)
	}
	return out
}

func (p *planner) warn(subject *hcl.Range, summary, format string, args ...any) {
	p.plan.Warnings = append(p.plan.Warnings, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject})
}
