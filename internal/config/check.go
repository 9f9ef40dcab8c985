package config

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/hashicorp/hcl/v2"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// check reports what the blocks of archmage's own cannot mean, all of it, and
// fills their parsed fields.
func (c *Config) check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, w := range c.Workers {
		diags = append(diags, w.check()...)
	}
	diags = append(diags, c.checkAddresses()...)
	for _, r := range c.Registries {
		diags = append(diags, r.check()...)
	}
	diags = append(diags, c.checkDevices()...)
	for _, h := range c.Hooks {
		diags = append(diags, h.check()...)
	}
	return append(diags, c.Release.check(c)...)
}

func (s *Smoke) check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	s.Timeout = duration(s.Body, "timeout", s.TimeoutText, time.Minute, &diags)
	if s.Retries < 0 {
		diags = append(diags, attrError(blockAttr(s.Body, "retries"), "Invalid retries", "The number of retries cannot be negative.")...)
	}
	if e := s.Expect; e != nil {
		for name, list := range map[string][]string{"stdout": e.Stdout, "stderr": e.Stderr, "not_stdout": e.NotStdout, "not_stderr": e.NotStderr} {
			for i, re := range list {
				if _, err := regexp.Compile(re); err != nil {
					diags = append(diags, &hcl.Diagnostic{
						Severity: hcl.DiagError, Summary: "Invalid regular expression", Detail: fmt.Sprintf("%s: %v.", name, err),
						Subject: at(e.Body, name, i),
					})
				}
			}
		}
	}
	if e := s.Expect; e != nil {
		for i, f := range e.Files {
			if !strings.HasPrefix(f, "/") {
				diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid file", Detail: fmt.Sprintf("The file %q is not an absolute path in the container.", f), Subject: at(e.Body, "files", i)})
			}
		}
	}
	if h := s.HTTP; h != nil {
		h.Interval = duration(h.Body, "interval", h.IntervalText, 500*time.Millisecond, &diags)
		if h.Path == "" {
			h.Path = "/"
		}
		if h.Status == 0 {
			h.Status = 200
		}
		fail := func(attr, format string, args ...any) {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid http check", Detail: fmt.Sprintf(format, args...), Subject: at(h.Body, attr, -1)})
		}
		if h.Port < 1 || h.Port > 65535 {
			fail("port", "%d is no TCP port; ports are 1 to 65535.", h.Port)
		}
		if !strings.HasPrefix(h.Path, "/") {
			fail("path", "The path %q does not begin with a slash.", h.Path)
		}
		if h.Status < 100 || h.Status > 599 {
			fail("status", "%d is no HTTP status.", h.Status)
		}
		if _, err := regexp.Compile(h.Match); err != nil {
			fail("body", "The pattern of the body: %v.", err)
		}
	}
	return diags
}

var workerSchemes = []string{"unix", "tcp", "ssh", "docker-container", "podman-container", "nerdctl-container", "kube-pod"}

func (w *Worker) check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	w.Platforms = platformList(w.Body, "platforms", w.PlatformNames, &diags)
	w.Emulates = platformList(w.Body, "emulates", w.EmulateNames, &diags)
	if w.Address == "" {
		w.Address = "auto"
	}
	if w.Address != "auto" {
		scheme, rest, ok := strings.Cut(w.Address, "://")
		if !ok || !slices.Contains(workerSchemes, scheme) || rest == "" {
			detail := fmt.Sprintf("The address %q is neither \"auto\" nor one of: %s://….", w.Address, strings.Join(workerSchemes, "://…, "))
			if near := likelyAddress(w.Address); near != "" {
				detail = fmt.Sprintf("The address %q has no scheme that is known. Did you mean %q? There are: auto, %s://….", w.Address, near, strings.Join(workerSchemes, "://…, "))
			}
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Invalid worker address",
				Detail:  detail,
				Subject: at(w.Body, "address", -1),
			})
		}
		if w.TLS != nil && scheme != "tcp" && ok {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "TLS without TCP",
				Detail:  fmt.Sprintf("A tls block belongs to a tcp:// address; %s:// has a protection of its own.", scheme),
				Subject: w.TLS.Body.MissingItemRange().Ptr(),
			})
		}
	}
	if w.Slots < 0 {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid slots", Detail: "The number of solves at a time is 1 or more.", Subject: at(w.Body, "slots", -1)})
	}
	w.Push = oneOf(w.Body, "push", w.Push, &diags, "worker", "client")
	return diags
}

// likelyAddress is what an address without a known scheme was most likely meant
// to be, or "".
func likelyAddress(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case ok && rest != "":
		if near := nearest(scheme, workerSchemes); near != "" {
			return near + "://" + rest
		}
	case ok, strings.ContainsAny(text, " \t"):
	case strings.HasPrefix(text, "/"):
		return "unix://" + text
	case strings.Contains(text, "@"):
		return "ssh://" + text
	case portEnd.MatchString(text):
		return "tcp://" + text
	case strings.EqualFold(text, "auto"), nearest(text, []string{"auto"}) != "":
		return "auto"
	}
	return ""
}

var portEnd = regexp.MustCompile(`^[^/:]+:[0-9]+$`)

func (c *Config) checkAddresses() hcl.Diagnostics {
	var diags hcl.Diagnostics
	seen := map[string]*Worker{}
	for _, w := range c.Workers {
		if prev, ok := seen[w.Address]; ok {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Two workers on one address",
				Detail:  fmt.Sprintf("Worker %q has the address of worker %q: %s. One daemon is one worker; give it more slots instead.", w.Name, prev.Name, w.Address),
				Subject: at(w.Body, "address", -1),
			})
		}
		seen[w.Address] = w
	}
	return diags
}

func (r *Registry) check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	if _, err := reference.ParseNormalizedNamed(r.Host + "/x"); err != nil || strings.Contains(r.Host, "/") {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Invalid registry host",
			Detail:  fmt.Sprintf("%q is no registry host; write it as in a tag, such as \"registry.example:5000\".", r.Host),
			Subject: r.Body.MissingItemRange().Ptr(),
		})
	}
	if r.Embedded && !oci.Loopback(r.Host) {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Embedded registry beyond this machine",
			Detail:  fmt.Sprintf("The embedded registry listens on loopback only; %q is not loopback. Write registry \"localhost:5000\".", r.Host),
			Subject: at(r.Body, "embedded", -1),
		})
	}
	return diags
}

func (c *Config) checkDevice(d *Device) hcl.Diagnostics {
	var diags hcl.Diagnostics
	fail := func(attr, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: at(d.Body, attr, -1)})
	}
	switch {
	case d.Host == "" && d.Worker == "" && misspelt(d.Body, "host", "hosts", "worker"):
		// Said already, where the attribute is.
	case d.Host == "" && d.Worker == "":
		fail("host", "Device without a host", "Device %q does not say where it is. Add host = \"pi@door.lan\", host = \"local\" or worker = \"NAME\".", d.Name)
	case d.Host != "" && d.Worker != "":
		fail("worker", "Device with two places", "Device %q has a host and a worker; it is reached by one of them.", d.Name)
	case d.Worker != "" && c.Worker(d.Worker) == nil && (d.Worker != "auto" || len(c.Workers) > 0):
		var names []string
		for _, w := range c.Workers {
			names = append(names, w.Name)
		}
		if len(names) == 0 {
			names = []string{"auto"}
		}
		fail("worker", "Unknown worker", "There is no worker %q; there are: %s.", d.Worker, strings.Join(names, ", "))
	case strings.HasPrefix(d.Host, "-"):
		fail("host", "Invalid host", "The host %q begins with a dash, which ssh would take for an option.", d.Host)
	case strings.ContainsFunc(d.Host, notOfHost):
		fail("host", "Invalid host", "The host %q holds a character that no host or ssh alias has.", d.Host)
	}
	diags = append(diags, d.checkReach()...)
	if d.PlatformName != "" {
		p, err := ParsePlatform(d.PlatformName)
		if err != nil {
			fail("platform", "Invalid platform", "%s", Sentence(err))
		} else {
			d.Platform = &p
		}
	}
	if d.Runtime != "" {
		oneOf(d.Body, "runtime", d.Runtime, &diags, "docker", "podman", "nerdctl")
	}
	if d.Platform != nil && !diags.HasErrors() && !c.anyTargetRuns(*d.Platform) {
		fail("platform", "Device that fits nothing", "No target is built for %s, so device %q can prove nothing.", FormatPlatform(*d.Platform), d.Name)
	}
	return diags
}

// fingerprint is what ssh-keygen -l prints of a key: SHA-256 in unpadded base64.
var fingerprint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// checkReach checks what only a device behind SSH has a use for.
func (d *Device) checkReach() hcl.Diagnostics {
	var diags hcl.Diagnostics
	d.PullTimeout = duration(d.Body, "pull_timeout", d.PullTimeoutText, 10*time.Minute, &diags)
	d.ConnectTimeout = duration(d.Body, "connect_timeout", d.ConnectTimeoutText, 0, &diags)
	d.Silence = duration(d.Body, "silence", d.SilenceText, 0, &diags)
	fail := func(attr, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: at(d.Body, attr, -1)})
	}
	if d.Path != "" {
		name := path.Base(d.Path)
		switch known := slices.Contains([]string{"docker", "podman", "nerdctl"}, name); {
		case !path.IsAbs(d.Path):
			fail("path", "Path that is not absolute", "%q must be the whole path of the runtime's program on the device, such as \"/opt/bin/docker\".", d.Path)
		case d.Runtime == "" && known:
			d.Runtime = name
		case d.Runtime == "":
			fail("path", "Unknown runtime", "What %q is cannot be told by its name; add runtime = \"docker\", \"podman\" or \"nerdctl\".", d.Path)
		}
	}
	if d.HostKey != "" && !fingerprint.MatchString(d.HostKey) {
		fail("host_key", "Invalid host key", "%q is no fingerprint. Write it as `ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub` prints it on the device: \"SHA256:…\".", d.HostKey)
	}
	if d.HostKey != "" && d.AcceptNew {
		fail("accept_new", "Two rules for the host key", "Device %q pins its host key and accepts a new one; keep host_key, which is the stricter.", d.Name)
	}
	if d.Worker != "" || d.Host == "local" {
		for _, a := range []struct {
			name string
			set  bool
		}{{"host_key", d.HostKey != ""}, {"accept_new", d.AcceptNew}, {"lend_credentials", d.LendCredentials},
			{"connect_timeout", d.ConnectTimeoutText != ""}, {"silence", d.SilenceText != ""}} {
			if a.set {
				fail(a.name, "Attribute without SSH", "%s is for devices that are reached over SSH; device %q is not.", a.name, d.Name)
			}
		}
	}
	if d.Worker != "" && (d.Runtime != "" || len(d.RunArgs) > 0 || d.Sudo || d.Path != "") {
		attr := "run_args"
		switch {
		case d.Path != "":
			attr = "path"
		case d.Sudo:
			attr = "sudo"
		case d.Runtime != "":
			attr = "runtime"
		}
		fail(attr, "Worker with a container runtime", "Device %q runs its containers in BuildKit, which takes no %s.", d.Name, attr)
	}
	for i, arg := range d.RunArgs {
		flag, _, _ := strings.Cut(arg, "=")
		if why, ours := ownRunArgs[flag]; ours {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Option that is not the device's to give",
				Detail: fmt.Sprintf("%s in run_args of device %q: %s. Leave it out.", flag, d.Name, why), Subject: at(d.Body, "run_args", i),
			})
		}
	}
	return diags
}

// ownRunArgs are options of `docker create` that a smoke run gives itself, or
// that would take its result away.
var ownRunArgs = map[string]string{
	"--rm":         "the container is removed anyway, but only once its result is known",
	"--name":       "the containers have names by which they are found again",
	"--platform":   "the platform comes from the image",
	"--pull":       "the image is pulled by its digest before",
	"--log-driver": "the output is read as it comes",
}

func (c *Config) anyTargetRuns(p ocispecs.Platform) bool {
	for _, t := range c.Targets {
		r, err := c.Resolve(t.Name)
		if err != nil {
			return true // said elsewhere
		}
		if len(r.Sources) > 0 && len(r.Platforms) == 0 {
			return true // the sources have platforms that are not known yet
		}
		for _, tp := range r.PlatformSpecs() {
			if FormatPlatform(tp) == FormatPlatform(p) {
				return true
			}
		}
	}
	return false
}

func (r *Release) check(c *Config) hcl.Diagnostics {
	var diags hcl.Diagnostics
	r.Emulation = oneOf(r.Body, "emulation", r.Emulation, &diags, "warn", "forbid", "allow")
	r.Attestations = oneOf(r.Body, "attestations", r.Attestations, &diags, "keep", "strip")
	r.MediaTypes = oneOf(r.Body, "media_types", r.MediaTypes, &diags, "oci", "docker")
	if r.DevicesAtOnce < 0 {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Invalid number", Detail: fmt.Sprintf("devices_at_once is %d; it is how many devices work at a time.", r.DevicesAtOnce), Subject: at(r.Body, "devices_at_once", -1),
		})
	}
	r.TagPolicy = oneOf(r.Body, "tag_policy", r.TagPolicy, &diags, "all", "semver")
	if r.MaxGrowth != "" {
		number, ok := strings.CutSuffix(r.MaxGrowth, "%")
		percent, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || percent < 0 || math.IsInf(percent, 0) || math.IsNaN(percent) {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid max_growth", Detail: fmt.Sprintf("%q is no percentage; write for example \"10%%\".", r.MaxGrowth), Subject: at(r.Body, "max_growth", -1)})
		} else {
			fraction := percent / 100
			r.Growth = &fraction
		}
	}
	r.FailOn = oneOf(r.Body, "fail_on", r.FailOn, &diags, "error", "warning", "note")
	r.RequireDevices = platformList(r.Body, "require_devices", r.RequireNames, &diags)
	for i, p := range r.RequireDevices {
		if len(r.RequireDevices) == len(r.RequireNames) && len(c.Targets) > 0 && !c.anyTargetRuns(p) {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Required platform that nobody builds",
				Detail:  fmt.Sprintf("require_devices has %s, but no target is built for it. Add it to a target's platforms, or leave it out here.", FormatPlatform(p)),
				Subject: at(r.Body, "require_devices", i),
			})
		}
	}
	if r.Sign != nil {
		diags = append(diags, r.Sign.check()...)
	}
	if r.ArchTags != "" {
		sample := strings.NewReplacer("{tag}", "t", "{os}", "linux", "{arch}", "arm", "{variant}", "v6").Replace(r.ArchTags)
		if !strings.Contains(r.ArchTags, "{arch}") || !tagPattern.MatchString(sample) {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Invalid arch_tags",
				Detail:  fmt.Sprintf("%q must hold {arch} and give a valid tag; {tag}, {os}, {arch} and {variant} are replaced. \"\" makes no such tags.", r.ArchTags),
				Subject: at(r.Body, "arch_tags", -1),
			})
		}
	}
	return diags
}

// Loopback is oci.Loopback.
func Loopback(host string) bool { return oci.Loopback(host) }

// IndexAlways is the value of Target.Index that publishes an index in any case.
const IndexAlways = "always"

// tagPattern is the grammar of the distribution specification:
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func platformList(body hcl.Body, attr string, names []string, diags *hcl.Diagnostics) []ocispecs.Platform {
	var out []ocispecs.Platform
	for i, n := range names {
		p, err := ParsePlatform(n)
		if err != nil {
			*diags = append(*diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid platform", Detail: Sentence(err), Subject: at(body, attr, i)})
			continue
		}
		out = append(out, p)
	}
	return out
}

// oneOf checks an attribute that is one of few words; the first is the default.
func oneOf(body hcl.Body, attr, value string, diags *hcl.Diagnostics, allowed ...string) string {
	if value == "" {
		return allowed[0]
	}
	if slices.Contains(allowed, value) {
		return value
	}
	detail := fmt.Sprintf("%s is one of %s; %q is none of them.", attr, strings.Join(allowed, ", "), value)
	if near := nearest(value, allowed); near != "" {
		detail = fmt.Sprintf("%s cannot be %q. Did you mean %q?", attr, value, near)
	}
	*diags = append(*diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid " + attr, Detail: detail, Subject: at(body, attr, -1)})
	return value
}

func duration(body hcl.Body, attr, text string, missing time.Duration, diags *hcl.Diagnostics) time.Duration {
	if text == "" {
		return missing
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		*diags = append(*diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Invalid duration",
			Detail:  fmt.Sprintf("%q is no duration; write for example \"500ms\", \"60s\" or \"2m\".", text),
			Subject: at(body, attr, -1),
		})
	}
	return d
}

// Sentence makes an error message one: a capital, and an end.
func Sentence(err error) string {
	s := err.Error()
	if !strings.HasSuffix(s, "?") {
		s += "."
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
