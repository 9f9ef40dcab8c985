package build

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// attrs are the options of the dockerfile.v0 frontend:
// https://github.com/moby/buildkit/blob/master/frontend/dockerui/config.go
func attrs(b *plan.Build, o Options) (map[string]string, error) {
	s := b.Spec
	m := map[string]string{"platform": b.PlatformName()}
	for k, v := range s.Args {
		if v != nil {
			m["build-arg:"+k] = *v
		}
	}
	if own := s.Args["SOURCE_DATE_EPOCH"]; own != nil {
		if _, err := parseEpoch(*own); err != nil {
			return nil, fmt.Errorf("args: SOURCE_DATE_EPOCH: %w", err)
		}
	}
	if t := argument(b, o); t != "" {
		m["build-arg:SOURCE_DATE_EPOCH"] = t
	}
	for k, v := range s.Labels {
		if v != nil {
			m["label:"+k] = *v
		}
	}
	if s.Target != nil && *s.Target != "" {
		m["target"] = *s.Target
	}
	if len(s.NoCacheFilter) > 0 {
		m["no-cache"] = strings.Join(s.NoCacheFilter, ",")
	}
	if s.NoCache != nil && *s.NoCache {
		m["no-cache"] = ""
	}
	if s.Pull != nil && *s.Pull {
		m["image-resolve-mode"] = "pull"
	}
	switch n := value(s.Network); n {
	case "", "default":
	case "host", "none":
		m["force-network-mode"] = n
	default:
		return nil, fmt.Errorf("network %q is none of default, host and none", n)
	}
	if v := value(s.ShmSize); v != "" {
		n, err := units.RAMInBytes(v)
		if err != nil {
			return nil, fmt.Errorf("shm-size %q is no size such as \"128m\"", v)
		}
		m["shm-size"] = strconv.FormatInt(n, 10)
	}
	if err := addUlimits(m, s.Ulimits); err != nil {
		return nil, err
	}
	if err := addHosts(m, s.ExtraHosts); err != nil {
		return nil, err
	}
	if err := addResources(m, s.Resources); err != nil {
		return nil, err
	}
	if !o.Strip {
		for _, a := range s.Attest {
			if off, _ := strconv.ParseBool(a["disabled"]); off {
				continue
			}
			m["attest:"+a["type"]] = withoutKeys(a, "disabled").String()
		}
	}
	if v := m["build-arg:BUILDKIT_SYNTAX"]; v != "" {
		m["source"], _, _ = strings.Cut(v, " ")
		m["cmdline"] = v
	}
	return m, nil
}

func withoutKeys(e config.Entry, keys ...string) config.Entry {
	c := maps.Clone(e)
	for _, k := range keys {
		delete(c, k)
	}
	return c
}

func addUlimits(m map[string]string, list []string) error {
	if len(list) == 0 {
		return nil
	}
	var out []string
	for _, u := range list {
		l, err := units.ParseUlimit(u)
		if err != nil {
			return fmt.Errorf("ulimit %q: %w", u, err)
		}
		out = append(out, l.String())
	}
	m["ulimit"] = strings.Join(out, ",")
	return nil
}

func addHosts(m map[string]string, hosts map[string]*string) error {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if hosts[name] == nil {
			continue
		}
		for _, ip := range strings.Split(*hosts[name], ",") {
			ip = strings.Trim(ip, "[]")
			if ip == "host-gateway" {
				return fmt.Errorf("extra-hosts %q = host-gateway is a feature of Docker's own builder; write an address", name)
			}
			if net.ParseIP(ip) == nil {
				return fmt.Errorf("extra-hosts %q: %q is no IP address", name, ip)
			}
			out = append(out, name+"="+ip)
		}
	}
	if len(out) > 0 {
		m["add-hosts"] = strings.Join(out, ",")
	}
	return nil
}

// addResources translates bake's names into the frontend's.
func addResources(m map[string]string, res map[string]string) error {
	for k, v := range res {
		switch k {
		case "memory", "memory-swap":
			n, err := units.RAMInBytes(v)
			if err != nil {
				return fmt.Errorf("resources: %s %q is no size such as \"1g\"", k, v)
			}
			m[map[string]string{"memory": "memory", "memory-swap": "memswap"}[k]] = strconv.FormatInt(n, 10)
		case "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems":
			m[strings.ReplaceAll(k, "-", "")] = v
		default:
			return fmt.Errorf("resources: %q is none of memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems", k)
		}
	}
	return nil
}

// allowed are the entitlements that the target asks for.
func allowed(s *config.Target) ([]string, error) {
	out := slices.Clone(s.Entitlements)
	if value(s.Network) == "host" && !slices.Contains(out, entitlements.EntitlementNetworkHost.String()) {
		out = append(out, entitlements.EntitlementNetworkHost.String())
	}
	for _, e := range out {
		if _, _, err := entitlements.Parse(e); err != nil {
			return nil, fmt.Errorf("entitlements: %q: %w", e, flat(err))
		}
	}
	return out, nil
}

// addEpoch sets the times of the image. What the target's own output says of
// them stands.
func addEpoch(m map[string]string, b *plan.Build, o Options) {
	t := epoch(b, o)
	if t == nil {
		return
	}
	if m["rewrite-timestamp"] == "" {
		m["rewrite-timestamp"] = "true"
	}
	if _, own := m["source-date-epoch"]; own {
		return
	}
	if rewrite, _ := strconv.ParseBool(m["rewrite-timestamp"]); rewrite {
		t = layers(b, o)
	}
	m["source-date-epoch"] = strconv.FormatInt(t.Unix(), 10)
}

// exports pushes by digest: no tag moves because of a build. A build that is
// neither pushed nor built on has none.
func exports(b *plan.Build, o Options) ([]client.ExportEntry, error) {
	if b.Repository == "" && !b.Passed {
		return nil, nil
	}
	m := map[string]string{}
	for _, e := range b.Spec.Outputs {
		if e["type"] != "image" && e["type"] != "registry" {
			continue
		}
		for k, v := range withoutKeys(e, "type") {
			if was, ok := m[k]; ok && was != v {
				return nil, fmt.Errorf("output: %s is %q in one entry and %q in another, but there is one image", k, was, v)
			}
			m[k] = v
		}
	}
	if v, ok := m["oci-mediatypes"]; ok {
		if oci, err := strconv.ParseBool(v); err != nil || oci == o.DockerMediaTypes {
			return nil, fmt.Errorf("output: oci-mediatypes=%s is not what the whole index has; set release { media_types = \"oci\" or \"docker\" } instead", v)
		}
	}
	// BuildKit compresses only layers that it has not kept in another form, so
	// that the digest would depend on what the worker built before.
	if m["compression"] != "" && m["force-compression"] == "" {
		m["force-compression"] = "true"
	}
	m["name"] = b.Repository
	m["push"] = "true"
	m["push-by-digest"] = "true"
	m["name-canonical"] = "true"
	m["oci-mediatypes"] = strconv.FormatBool(!o.DockerMediaTypes)
	if o.Insecure(plan.Host(b.Repository)) {
		m["registry.insecure"] = "true"
	}
	addEpoch(m, b, o)
	addAnnotations(m, b)
	return []client.ExportEntry{{Type: client.ExporterImage, Attrs: m}}, nil
}

func addAnnotations(m map[string]string, b *plan.Build) {
	for _, a := range b.Spec.AnnotationList() {
		if a.Level != "manifest" {
			continue // the index and its descriptors are archmage's own to write
		}
		if a.Platform == nil || config.FormatPlatform(*a.Platform) == b.PlatformName() {
			m["annotation."+a.Key] = a.Value
		}
	}
}
