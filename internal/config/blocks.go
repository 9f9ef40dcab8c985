package config

import (
	"time"

	"github.com/hashicorp/hcl/v2"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// PlatformOverride is a `platform` block of a target: what differs for one
// platform.
type PlatformOverride struct {
	Name       string             `hcl:"name,label"`
	Args       map[string]*string `hcl:"args,optional"`
	Context    *string            `hcl:"context,optional"`
	Dockerfile *string            `hcl:"dockerfile,optional"`
	Target     *string            `hcl:"target,optional"`
	// Source is the one of the target's sources that the platform comes from,
	// where the image itself does not say so.
	Source *string `hcl:"source,optional"`
	// OS, Architecture, Variant, OSVersion and OSFeatures are written into the
	// child's descriptor; "", [] or null clears a field.
	OS           *string  `hcl:"os,optional"`
	Architecture *string  `hcl:"architecture,optional"`
	Variant      *string  `hcl:"variant,optional"`
	OSVersion    *string  `hcl:"os_version,optional"`
	OSFeatures   []string `hcl:"os_features,optional"`
	// Repair writes a corrected config, as a new child, where the image's own
	// contradicts the platform.
	Repair *bool `hcl:"repair,optional"`
	// Optional lets a release go out without this platform, by name and in red.
	Optional *bool `hcl:"optional,optional"`

	Body hcl.Body `hcl:",body"`

	// Platform is Name, normalised.
	Platform ocispecs.Platform
}

// Prepare is the `prepare` block of a target: a command on the workstation,
// run once a platform before its solve.
type Prepare struct {
	// Command is the program and its arguments. $TARGETPLATFORM and the other
	// TARGET*, GOOS, GOARCH, GOARM variables are replaced in each argument, and
	// those of Env, unless their value was taken from the environment or the
	// argument is a shell's script, which has them as variables of its own. No
	// shell is involved.
	Command []string `hcl:"command"`
	// Dir is where it runs; left out: the target's context directory.
	Dir string `hcl:"dir,optional"`
	// Env is added to the environment; variables of the platform and of the
	// environment are replaced in its values.
	Env map[string]string `hcl:"env,optional"`

	Body hcl.Body `hcl:",body"`
}

// Smoke is a `smoke` block of a target: one run of the image on a device.
type Smoke struct {
	// Name tells cases of one target apart in reports; left out: the command.
	Name string `hcl:"name,optional"`
	// Command are the arguments of the image's own entrypoint.
	Command []string          `hcl:"command,optional"`
	Env     map[string]string `hcl:"env,optional"`
	Expect  *Expect           `hcl:"expect,block"`
	HTTP    *HTTP             `hcl:"http,block"`
	// TimeoutText bounds one run on one device, without the pull; left out: 60s.
	TimeoutText string `hcl:"timeout,optional"`
	// Retries is how often a failed case is tried again; left out: never.
	Retries int `hcl:"retries,optional"`

	Body hcl.Body `hcl:",body"`

	Timeout time.Duration
}

// Expect is what a smoke run must give. Patterns are Go regular expressions
// (https://pkg.go.dev/regexp/syntax), matched line by line anywhere in the output.
type Expect struct {
	ExitCode  int      `hcl:"exit_code,optional"`
	Stdout    []string `hcl:"stdout,optional"`
	Stderr    []string `hcl:"stderr,optional"`
	NotStdout []string `hcl:"not_stdout,optional"`
	NotStderr []string `hcl:"not_stderr,optional"`
	// Files must exist in the container.
	Files []string `hcl:"files,optional"`

	Body hcl.Body `hcl:",body"`
}

// HTTP is a check made from the device against the running container.
type HTTP struct {
	Port   int    `hcl:"port"`
	Path   string `hcl:"path,optional"`
	Status int    `hcl:"status,optional"`
	// Body of the response must match this regular expression.
	Match        string `hcl:"body,optional"`
	IntervalText string `hcl:"interval,optional"`

	Body hcl.Body `hcl:",body"`

	Interval time.Duration
}

// Worker is a `worker` block: a BuildKit daemon.
type Worker struct {
	Name string `hcl:"name,label"`
	// Address is unix://, tcp://, ssh://, docker-container://,
	// podman-container://, nerdctl-container://, kube-pod:// or "auto".
	Address string `hcl:"address,optional"`
	// PlatformNames are what it builds natively; left out: what it reports.
	PlatformNames []string `hcl:"platforms,optional"`
	EmulateNames  []string `hcl:"emulates,optional"`
	// Slots is how many solves it runs at a time; 0 is the default of 4.
	Slots int `hcl:"slots,optional"`
	// Push is "worker" or "client": who pushes the image.
	Push string `hcl:"push,optional"`
	TLS  *TLS   `hcl:"tls,block"`

	Body hcl.Body `hcl:",body"`

	Platforms []ocispecs.Platform
	Emulates  []ocispecs.Platform
}

// TLS is the `tls` block of a worker at a tcp:// address.
type TLS struct {
	CA         string `hcl:"ca,optional"`
	Cert       string `hcl:"cert,optional"`
	Key        string `hcl:"key,optional"`
	ServerName string `hcl:"server_name,optional"`

	Body hcl.Body `hcl:",body"`
}

// Registry is a `registry` block: how every step reaches one registry host.
type Registry struct {
	// Host as it stands in references, with the port.
	Host string `hcl:"host,label"`
	// Embedded runs a registry on this machine under that name.
	Embedded bool `hcl:"embedded,optional"`
	// Insecure allows plain HTTP and unverified certificates.
	Insecure bool `hcl:"insecure,optional"`
	// CA is a PEM file that signs the registry's certificate.
	CA string `hcl:"ca,optional"`

	Body hcl.Body `hcl:",body"`
}

// Device is a `device` block: a machine that runs the released image.
type Device struct {
	Name string `hcl:"name,label"`
	// Host is anything ssh(1) takes, or "local" for this machine.
	Host string `hcl:"host,optional"`
	// Hosts make the block a group: a device for each of them, "pi[1-20].lan"
	// standing for twenty.
	Hosts []string `hcl:"hosts,optional"`
	// Worker makes a worker its own device, instead of Host.
	Worker string `hcl:"worker,optional"`
	// PlatformName is what the device runs; left out: asked of the device.
	PlatformName string `hcl:"platform,optional"`
	// Runtime is docker, podman or nerdctl; left out: the first found.
	Runtime string `hcl:"runtime,optional"`
	// Path is where the runtime's program lies on the device; left out: in PATH,
	// or where such programs usually are.
	Path string `hcl:"path,optional"`
	// Sudo runs the runtime as root, by sudo and without a question.
	Sudo     bool     `hcl:"sudo,optional"`
	Optional bool     `hcl:"optional,optional"`
	RunArgs  []string `hcl:"run_args,optional"`
	// AcceptNew trusts the host key of a device that known_hosts does not hold
	// yet; a changed key is refused all the same.
	AcceptNew bool `hcl:"accept_new,optional"`
	// HostKey is the fingerprint the device's host key must have, as
	// `ssh-keygen -l` prints it: "SHA256:…". known_hosts is not asked then.
	HostKey string `hcl:"host_key,optional"`
	// LendCredentials gives this machine's credentials for the registry to the
	// device for the time of a pull, in memory.
	LendCredentials bool `hcl:"lend_credentials,optional"`
	// PullTimeoutText bounds the pull of one image; left out: 10m.
	PullTimeoutText string `hcl:"pull_timeout,optional"`
	// ConnectTimeoutText bounds the connection and each question; left out: 15s.
	ConnectTimeoutText string `hcl:"connect_timeout,optional"`
	// SilenceText is how long the device may send nothing at all; left out: what
	// ssh_config says, or 1m.
	SilenceText string `hcl:"silence,optional"`

	Body hcl.Body `hcl:",body"`

	// Group is the block's name where the device is one of several.
	Group string
	// Platform is PlatformName, normalised, or nil.
	Platform    *ocispecs.Platform
	PullTimeout time.Duration
	// ConnectTimeout and Silence are 0 where they were left out.
	ConnectTimeout, Silence time.Duration
}

// Release is the `release` block: the rules of a release.
type Release struct {
	// Emulation is forbid, warn or allow.
	Emulation string `hcl:"emulation,optional"`
	// Attestations is keep or strip.
	Attestations string `hcl:"attestations,optional"`
	// MediaTypes is oci or docker.
	MediaTypes string `hcl:"media_types,optional"`
	// ArchTags is the pattern of the tags of single platforms, "" for none.
	ArchTags string `hcl:"arch_tags,optional"`
	// TagPolicy is all or semver: with semver latest, 1 and 1.2 move only where no
	// newer version of their line is published.
	TagPolicy string `hcl:"tag_policy,optional"`
	// MaxGrowth is by how much an image may be larger than that of the release
	// before, for each platform: "10%"; left out: by anything.
	MaxGrowth string `hcl:"max_growth,optional"`
	// Prove runs the smoke cases before any tag moves.
	Prove bool `hcl:"prove,optional"`
	// FailOn is the severity that stops a release: error, warning or note.
	FailOn string `hcl:"fail_on,optional"`
	// RequireNames are platforms that must pass on a device of their own.
	RequireNames []string `hcl:"require_devices,optional"`
	// DevicesAtOnce is how many devices work at a time; left out: 32.
	DevicesAtOnce int `hcl:"devices_at_once,optional"`

	Body hcl.Body `hcl:",body"`

	// Sign signs what is released; left out: nothing is signed.
	Sign *Sign `hcl:"sign,block"`

	RequireDevices []ocispecs.Platform
	// Growth is MaxGrowth as a fraction, nil for none.
	Growth *float64
}

// Sign is the `sign` block of the release: a key pair as `cosign
// generate-key-pair` makes it.
type Sign struct {
	// Key is the file of the private key.
	Key string `hcl:"key"`
	// PasswordEnv names the environment variable that holds the key's
	// password; left out: COSIGN_PASSWORD.
	PasswordEnv string `hcl:"password_env,optional"`

	Body hcl.Body `hcl:",body"`
}

// ownBlocks are the top-level blocks that bake does not know.
type ownBlocks struct {
	Workers    []*Worker   `hcl:"worker,block"`
	Registries []*Registry `hcl:"registry,block"`
	Devices    []*Device   `hcl:"device,block"`
	Releases   []*Release  `hcl:"release,block"`
	Audits     []*Audit    `hcl:"audit,block"`
	Hooks      []*Hook     `hcl:"hook,block"`
}

// targetBlocks are the blocks of a target that bake does not know.
type targetBlocks struct {
	Overrides []*PlatformOverride `hcl:"platform,block"`
	Prepare   *Prepare            `hcl:"prepare,block"`
	Smokes    []*Smoke            `hcl:"smoke,block"`
	Audit     *Audit              `hcl:"audit,block"`
}

func defaultRelease() Release {
	return Release{
		Emulation:    "warn",
		Attestations: "keep",
		MediaTypes:   "oci",
		ArchTags:     "{tag}-{arch}{variant}",
		Prove:        true,
		TagPolicy:    "all",
		FailOn:       "error",
	}
}

// nullClears takes null for "", which clears a field of the descriptor: a
// decoder takes null for an attribute that was left out.
func (o *PlatformOverride) nullClears() {
	for name, value := range map[string]**string{"variant": &o.Variant, "os_version": &o.OSVersion, "os": &o.OS, "architecture": &o.Architecture} {
		if *value == nil && blockAttr(o.Body, name) != nil {
			*value = ptr("")
		}
	}
	if o.OSFeatures == nil && blockAttr(o.Body, "os_features") != nil {
		o.OSFeatures = []string{}
	}
}

// mergeOverrides lays over by platform name; what one block leaves out stays.
func mergeOverrides(base, over []*PlatformOverride) []*PlatformOverride {
	out := append([]*PlatformOverride(nil), base...)
next:
	for _, o := range over {
		for i, b := range out {
			if b.Name != o.Name {
				continue
			}
			m := *b
			m.Args = overlay(b.Args, o.Args)
			replace(&m.Context, o.Context)
			replace(&m.Dockerfile, o.Dockerfile)
			replace(&m.Target, o.Target)
			replace(&m.Source, o.Source)
			replace(&m.OS, o.OS)
			replace(&m.Architecture, o.Architecture)
			replace(&m.Variant, o.Variant)
			replace(&m.OSVersion, o.OSVersion)
			replace(&m.Repair, o.Repair)
			replace(&m.Optional, o.Optional)
			if o.OSFeatures != nil {
				m.OSFeatures = o.OSFeatures
			}
			m.Body = o.Body
			out[i] = &m
			continue next
		}
		out = append(out, o)
	}
	return out
}
