package release

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/atomicwriter"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
)

// resultJSON is what `mage release -json` prints and -metadata writes. The fields
// are stable.
type resultJSON struct {
	Release string `json:"release"`
	Commit  string `json:"commit,omitempty"`
	Dirty   bool   `json:"dirty,omitempty"`
	// Moved counts the tags that pointed elsewhere before, of all Tags.
	Moved   int     `json:"moved"`
	Tags    int     `json:"tags"`
	Proven  string  `json:"proven"`
	Seconds float64 `json:"seconds"`
	// Record is the file of the release, relative to the directory of targets.hcl.
	Record  string             `json:"record"`
	Targets []resultTargetJSON `json:"targets"`
	// Outputs are what was written to files.
	Outputs []resultOutputJSON `json:"outputs,omitempty"`
}

type resultOutputJSON struct {
	Target string `json:"target"`
	// Type is local, tar, oci or docker; Dest the directory or file.
	Type string `json:"type"`
	Dest string `json:"dest"`
}

type resultTargetJSON struct {
	Name string `json:"name"`
	// Digest of the index; Tags are complete references to it, ArchTags those to
	// the image of one platform.
	Digest    string               `json:"digest"`
	Tags      []string             `json:"tags"`
	ArchTags  []string             `json:"archTags,omitempty"`
	Platforms []resultPlatformJSON `json:"platforms"`
}

type resultPlatformJSON struct {
	Platform string   `json:"platform"`
	Digest   string   `json:"digest"`
	Worker   string   `json:"worker"`
	Native   bool     `json:"native"`
	Reused   bool     `json:"reused,omitempty"`
	ProvenOn []string `json:"provenOn,omitempty"`
	Seconds  float64  `json:"seconds"`
}

func (w *Workspace) result(p *plan.Plan, r *journal.Record) *resultJSON {
	out := &resultJSON{
		Targets: []resultTargetJSON{},
		Release: r.ID, Commit: r.Commit, Dirty: r.Dirty, Tags: len(r.Moves), Proven: w.proven,
		Seconds: time.Since(w.opened).Round(time.Millisecond).Seconds(), Record: w.relative(w.path("releases", r.ID+".json")),
	}
	for _, m := range r.Moves {
		if m.Previous != m.Digest {
			out.Moved++
		}
	}
	for _, t := range p.Targets {
		for _, o := range t.Outputs {
			out.Outputs = append(out.Outputs, resultOutputJSON{Target: t.Name, Type: o.Type, Dest: o.Dest})
		}
	}
	for _, t := range p.Published() {
		tr := r.Target(t.Name)
		tj := resultTargetJSON{Name: t.Name, Digest: tr.Index.String(), Tags: []string{}, ArchTags: archTags(p, t), Platforms: []resultPlatformJSON{}}
		for _, tag := range t.Tags {
			tj.Tags = append(tj.Tags, tag.String())
		}
		for _, c := range tr.Children {
			tj.Platforms = append(tj.Platforms, resultPlatformJSON{
				Platform: c.Platform, Digest: c.Digest.String(), Worker: c.Worker, Native: c.Native, Reused: c.Reused, ProvenOn: c.ProvenOn, Seconds: c.Seconds,
			})
		}
		out.Targets = append(out.Targets, tj)
	}
	return out
}

// Results say where the result of a release goes besides the screen.
type Results struct {
	// JSON prints it on stdout, in place of a line for each tag.
	JSON bool
	// Metadata is a file for it, "" for none.
	Metadata string
}

// handOver gives the result to machines: stdout, a file, the CI service.
func (w *Workspace) handOver(p *plan.Plan, r *journal.Record, o Results) error {
	result := w.result(p, r)
	data, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	if o.Metadata != "" {
		path := o.Metadata
		if !filepath.IsAbs(path) {
			path = filepath.Join(w.Dir, path)
		}
		if err := atomicwriter.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			return fmt.Errorf("the release is published, but writing its metadata: %w", err)
		}
	}
	w.tellGitHub(result)
	if o.JSON {
		return w.writeJSON(result)
	}
	for _, t := range result.Targets {
		for _, tag := range t.Tags {
			fmt.Fprintf(w.Streams.Out, "%s@%s\n", tag, t.Digest)
		}
	}
	return nil
}

// tellGitHub gives a workflow the outputs digest, tags and json, and the run a
// summary. What cannot be written is only a warning: the tags have moved.
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions
func (w *Workspace) tellGitHub(result *resultJSON) {
	if path := w.Getenv("GITHUB_OUTPUT"); path != "" {
		var tags []string
		for _, t := range result.Targets {
			tags = append(tags, t.Tags...)
		}
		line, err := json.Marshal(result)
		if err == nil {
			digest := ""
			if len(result.Targets) > 0 {
				digest = result.Targets[0].Digest
			}
			err = appendTo(path, fmt.Sprintf("digest=%s\ntags=%s\nrelease=%s\njson=%s\n", digest, strings.Join(tags, ","), result.Release, line))
		}
		if err != nil {
			w.status.Warn(fmt.Sprintf("the outputs of the workflow's step were not set: %v", err))
		}
	}
	if path := w.Getenv("GITHUB_STEP_SUMMARY"); path != "" {
		if err := appendTo(path, result.markdown()); err != nil {
			w.status.Warn(fmt.Sprintf("the summary of the workflow's step was not written: %v", err))
		}
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// markdown is the result for a summary or a pull request.
func (r *resultJSON) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Released %s\n\n%d of %d tags moved, every one read back", r.Release, r.Moved, r.Tags)
	if r.Proven != "" {
		fmt.Fprintf(&b, "; %s", r.Proven)
	}
	b.WriteString(".\n")
	if r.Commit != "" {
		fmt.Fprintf(&b, "\nCommit `%s`", r.Commit)
		if r.Dirty {
			b.WriteString(", with changes that it does not hold")
		}
		b.WriteString(".\n")
	}
	cell := strings.NewReplacer("|", "\\|", "\n", " ")
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "\n### %s\n\n", cell.Replace(t.Name))
		for _, tag := range t.Tags {
			fmt.Fprintf(&b, "- `%s@%s`\n", tag, t.Digest)
		}
		b.WriteString("\n| platform | digest | built by | proven on |\n|---|---|---|---|\n")
		for _, p := range t.Platforms {
			by := p.Worker
			switch {
			case p.Reused:
				by += " (reused)"
			case !p.Native:
				by += " (emulated where steps ran)"
			}
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", p.Platform, p.Digest, cell.Replace(by), cell.Replace(strings.Join(p.ProvenOn, ", ")))
		}
	}
	return b.String()
}
