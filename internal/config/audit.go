package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/hashicorp/hcl/v2"
	"github.com/moby/patternmatcher"
)

// Audit is an `audit` block: what of the audit's judgment the user wants
// otherwise. One at the top is for all targets, one in a target adds to it.
type Audit struct {
	// Ignore are the ids of checks that are not wanted.
	Ignore []string `hcl:"ignore,optional"`
	// Severity overrides the severity of checks: error, warning or note by id.
	Severity map[string]string `hcl:"severity,optional"`
	// Allow are patterns of paths in the image, written as in a .dockerignore,
	// whose binaries may be for any architecture.
	Allow []string `hcl:"allow,optional"`
	// PageSize is the page of the kernels that an image runs on, "4K", "16K" or
	// "64K", by platform, where it is not what such kernels commonly have.
	PageSize map[string]string `hcl:"page_size,optional"`

	Body hcl.Body `hcl:",body"`
}

// AuditChecks are the ids of all checks; docs/audit.md says what they mean.
var AuditChecks = []string{
	"elf-architecture", "elf-variant", "elf-level", "cpu-level", "foreign-format", "entrypoint-missing", "entrypoint-not-executable",
	"interpreter-missing", "library-missing", "libc-version", "page-size", "script-interpreter", "user-missing",
	"missing-manifest", "missing-config", "missing-layer", "corrupt", "size-mismatch", "type-mismatch", "layer-corrupt",
	"layer-path", "layer-limit", "diff-id", "layer-type", "platform-missing", "platform-extra", "platform-mismatch",
	"platform-duplicate", "platform-unnamed", "platform-unknown", "variant-unstated", "empty-index", "schema1",
	"not-an-image", "graph-depth", "tag-drift", "false-attestation", "attestation-orphan", "attestation-uneven",
	"signature-missing", "size-divergence", "layer-divergence", "media-types", "index-annotations", "created-skew",
	"config-divergence", "base-outdated", "layer-unread", "script-unread", "foreign-layer", "setuid", "secret",
}

// PageSizes are the pages in bytes that PageSize may name.
var PageSizes = map[string]uint64{"4K": 4 << 10, "16K": 16 << 10, "64K": 64 << 10}

var auditSeverities = []string{"error", "warning", "note"}

// Merge returns what a and, where they differ, b say together. Either may be
// nil.
func (a *Audit) Merge(b *Audit) *Audit {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	out := &Audit{
		Ignore: uniqueStrings(append(slices.Clone(a.Ignore), b.Ignore...)),
		Allow:  uniqueStrings(append(slices.Clone(a.Allow), b.Allow...)),
		Body:   b.Body,
	}
	if len(a.Severity)+len(b.Severity) > 0 {
		out.Severity = map[string]string{}
		maps.Copy(out.Severity, a.Severity)
		maps.Copy(out.Severity, b.Severity)
	}
	if len(a.PageSize)+len(b.PageSize) > 0 {
		out.PageSize = map[string]string{}
		maps.Copy(out.PageSize, a.PageSize)
		maps.Copy(out.PageSize, b.PageSize)
	}
	return out
}

func (a *Audit) check() hcl.Diagnostics {
	if a == nil || a.Body == nil {
		return nil
	}
	var diags hcl.Diagnostics
	fail := func(subject *hcl.Range, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject})
	}
	id := func(id string, subject *hcl.Range) {
		if slices.Contains(AuditChecks, id) {
			return
		}
		advice := "docs/audit.md lists them."
		if near := nearest(id, AuditChecks); near != "" {
			advice = fmt.Sprintf("Did you mean %q?", near)
		}
		fail(subject, "Unknown check", "No check of the audit has the id %q. %s", id, advice)
	}
	for i, v := range a.Ignore {
		id(v, at(a.Body, "ignore", i))
	}
	for _, k := range slices.Sorted(maps.Keys(a.Severity)) {
		subject := at(a.Body, "severity", -1)
		id(k, subject)
		if v := a.Severity[k]; !slices.Contains(auditSeverities, v) {
			fail(subject, "Invalid severity", "The severity %q of %s is none of %s.", v, k, strings.Join(auditSeverities, ", "))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(a.PageSize)) {
		subject := at(a.Body, "page_size", -1)
		if _, err := platforms.Parse(k); err != nil {
			fail(subject, "Invalid platform", "The platform %q of a page size cannot be read: %v.", k, err)
		}
		if _, ok := PageSizes[a.PageSize[k]]; !ok {
			fail(subject, "Invalid page size", "The page size %q of %s is none of 4K, 16K, 64K.", a.PageSize[k], k)
		}
	}
	for i, p := range a.Allow {
		pattern := strings.TrimPrefix(p, "/")
		m, err := patternmatcher.New([]string{pattern})
		if err == nil && pattern != "" {
			_, err = m.MatchesOrParentMatches("usr/bin/x")
		}
		switch {
		case pattern == "":
			fail(at(a.Body, "allow", i), "Invalid pattern", "The pattern %q matches nothing. Write it as in a .dockerignore: \"/usr/lib/firmware/**\".", p)
		case err != nil:
			fail(at(a.Body, "allow", i), "Invalid pattern", "The pattern %q is malformed: %v. Write it as in a .dockerignore: \"/usr/lib/firmware/**\".", p, err)
		}
	}
	return diags
}
