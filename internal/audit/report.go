package audit

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// Report is what an audit found. Its JSON form is documented in docs/audit.md;
// like a Tree's it is safe for a terminal.
type Report struct {
	// Tree is what the reference names.
	Tree *Tree `json:"tree"`
	// Images are those of the tree, in order.
	Images []Image `json:"images"`
	// Findings are sorted, the gravest first.
	Findings []Finding `json:"findings"`
	// Stats say what it took.
	Stats Stats `json:"stats"`
}

// Image is what the layers of one image hold.
type Image struct {
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"`
	// Binaries says what its programs are, the entrypoint first:
	// "ELF arm, EABI5, v6, static, Go 1.26"; empty where layers were not read.
	Binaries string `json:"binaries,omitempty"`
	// Program is the file that the image runs, "/usr/bin/hello".
	Program string `json:"program,omitempty"`
	// Files counts the files of the final file system, Executables the ELF,
	// Mach-O and PE files among them, Allowed those of other architectures
	// that are no alarm where they lie (firmware, cross toolchains, …).
	Files       int `json:"files"`
	Executables int `json:"executables"`
	Allowed     int `json:"allowed,omitempty"`
	// Incomplete says why its file system was not judged, or only in part.
	Incomplete string `json:"incomplete,omitempty"`
	// BuiltBy is the worker that built it and ProvenOn the devices it ran on,
	// for whoever knows that to fill in.
	BuiltBy  string   `json:"builtBy,omitempty"`
	ProvenOn []string `json:"provenOn,omitempty"`
}

// Stats say what an audit took.
type Stats struct {
	// Layers counts distinct layers, Cached those known from an earlier audit.
	Layers int `json:"layers"`
	Cached int `json:"cached"`
	// Transferred is the bytes of layers that were read from the source.
	Transferred int64 `json:"transferred"`
}

// MarshalJSON implements json.Marshaler. Control characters are escaped.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	raw, err := json.Marshal(plain(r))
	if err != nil {
		return nil, err
	}
	return escapeJSON(raw), nil
}

// Worst returns the gravest severity among the findings, or "".
func (r *Report) Worst() Severity {
	if len(r.Findings) == 0 {
		return ""
	}
	return r.Findings[0].Severity
}

// Fails returns the findings that are as grave as failOn, or graver.
func (r *Report) Fails(failOn Severity) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Severity.AtLeast(failOn) {
			out = append(out, f)
		}
	}
	return out
}
