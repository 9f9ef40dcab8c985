package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Severity says how much a finding matters.
type Severity string

// The severities, the gravest first.
const (
	Error   Severity = "error"   // the release is wrong: users will be hurt
	Warning Severity = "warning" // it may be, or some will be
	Note    Severity = "note"    // worth knowing
)

// Severities lists all of them, the gravest first.
var Severities = []Severity{Error, Warning, Note}

// AtLeast tells whether s is as grave as threshold, or graver. A threshold
// that is no severity counts as Error.
func (s Severity) AtLeast(threshold Severity) bool {
	limit := slices.Index(Severities, threshold)
	return slices.Index(Severities, s) <= max(limit, 0)
}

// Finding is one thing that a check found.
type Finding struct {
	// ID is the check's, one of Checks.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Platform is the image's, normalised; empty for what concerns them all.
	Platform string `json:"platform,omitempty"`
	// Digest is that of the manifest or index.
	Digest digest.Digest `json:"digest,omitempty"`
	// Layer is the digest of the layer that holds Path; or that is wrong.
	Layer digest.Digest `json:"layer,omitempty"`
	// Path is a file in the image, "/usr/bin/hello".
	Path string `json:"path,omitempty"`
	// Message says in one sentence what is wrong.
	Message string `json:"message"`
	// Evidence are the facts it was concluded from: "the file: ELF x86-64".
	Evidence []string `json:"evidence,omitempty"`
	// Chain is how the image reaches the file, reasons and files in turn:
	// "entrypoint", "/run", "line 4", "/app/server", "DT_NEEDED libpq.so.5";
	// empty where nothing is known to start or load it.
	Chain []string `json:"chain,omitempty"`
}

// Reached is the chain on one line, fit for a terminal; "" where there is none.
func (f Finding) Reached() string { return Printable(strings.Join(f.Chain, " → ")) }

// String is the finding on one line, fit for a terminal.
func (f Finding) String() string {
	text := string(f.Severity) + " " + f.ID
	for _, part := range []string{f.Platform, f.Path} {
		if part != "" {
			text += " " + part
		}
	}
	if f.Layer != "" {
		text += " (layer " + short(f.Layer) + ")"
	}
	return Printable(text + ": " + f.Message)
}

// short is enough of a digest to find it by.
func short(d digest.Digest) string {
	const enough = len("sha256:") + 12
	if len(d) > enough {
		return string(d[:enough])
	}
	return string(d)
}

// mostAlike is how many findings of one check about one image are told apart;
// what is more is counted in the last of them.
const mostAlike = 20

// collector gathers findings. Whoever adds one gives a severity only where it
// is not the check's own.
type collector struct {
	rules    *rules
	findings []Finding
	alike    map[string]int
}

func (c *collector) add(f Finding) {
	if f.Severity == "" {
		f.Severity = checkOf(f.ID).Severity
	}
	if !c.rules.apply(&f) {
		return
	}
	if c.alike == nil {
		c.alike = map[string]int{}
	}
	key := f.ID + string(f.Severity) + f.Platform + string(f.Digest)
	c.alike[key]++
	if c.alike[key] > mostAlike {
		return
	}
	c.findings = append(c.findings, f)
}

// sorted returns the findings, the gravest first, and says where more of a
// kind were found than are listed.
func (c *collector) sorted() []Finding {
	for i := range c.findings {
		f := &c.findings[i]
		key := f.ID + string(f.Severity) + f.Platform + string(f.Digest)
		if n := c.alike[key]; n > mostAlike {
			c.alike[key] = 0 // said once
			f.Evidence = append(f.Evidence, fmt.Sprintf("%d more of this kind are not listed", n-mostAlike))
		}
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Severities, a.Severity), slices.Index(Severities, b.Severity)),
			cmp.Compare(checkIndex(a.ID), checkIndex(b.ID)),
			cmp.Compare(a.Platform, b.Platform),
			cmp.Compare(a.Path, b.Path),
		)
	})
	return c.findings
}
