package audit

import (
	"slices"
	"strconv"
	"strings"

	"github.com/archmage-build/archmage/internal/reach"
)

// needV3 are the systems whose releases from 10 on are compiled for x86-64-v3,
// by the ID of os-release. https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/10
var needV3 = []string{"rhel", "centos", "rocky", "almalinux", "ol", "eurolinux"}

// judgeBase judges the system that the image is made of, where its programs say
// nothing themselves of the CPU that they need.
func (j *judgment) judgeBase() {
	if j.platform.Architecture != "amd64" || variantNumber(j.platform.Variant, 1) >= 3 {
		return
	}
	n, real := j.fs.Resolve("/etc/os-release", true)
	if n == nil {
		n, real = j.fs.Resolve("/usr/lib/os-release", true)
	}
	if n == nil || n.File == nil {
		return
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(n.File.Text)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[k] = strings.Trim(v, `"'`)
		}
	}
	major, _, _ := strings.Cut(fields["VERSION_ID"], ".")
	if v, err := strconv.Atoi(major); err != nil || v < 10 || !slices.Contains(needV3, fields["ID"]) {
		return
	}
	i := slices.IndexFunc(j.reach.Files, func(f *reach.File) bool { return f.Way == reach.Loader && !f.OnPath })
	if i < 0 {
		return // what it starts is linked statically, and so not of the base
	}
	f := j.finding(Warning, "elf-level", real, n, "the base is %s %s, whose packages are compiled for x86-64-v3, and the image is for %s", fields["ID"], fields["VERSION_ID"], j.node.Platform)
	f.Chain = j.reach.Files[i].Chain
	j.found.add(f)
}
