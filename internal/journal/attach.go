package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Attached is the form of the record that is attached to an image: verdicts,
// digests, the commit, and the tags with what they pointed to before, which is
// what a rollback from another machine needs. What tells of the machines (logs,
// facts, paths) or differs from run to run (times, steps from the cache) stays
// here, so that one promotion gives one attachment.
func (r *Record) Attached() ([]byte, error) {
	out := Record{
		Schema: r.Schema, ID: r.ID, Kind: r.Kind, Undoes: r.Undoes, Restores: r.Restores,
		Commit: r.Commit, Dirty: r.Dirty, Epoch: r.Epoch, Moves: r.Moves, Attempt: r.Attempt, Proofs: r.Proofs,
	}
	for _, t := range r.Targets {
		to := &Target{Name: t.Name, Linked: t.Linked, Tags: t.Tags, Index: t.Index}
		for _, c := range t.Children {
			to.Children = append(to.Children, &Child{
				Platform: c.Platform, Repository: c.Repository, Digest: c.Digest, MediaType: c.MediaType, Size: c.Size,
				Worker: c.Worker, Native: c.Native, ProvenOn: c.ProvenOn,
			})
		}
		out.Targets = append(out.Targets, to)
	}
	data, err := json.MarshalIndent(&out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the record %q: %w", r.ID, err)
	}
	return data, nil
}

// ParseAttached reads a record that was attached to an image. Whoever may push
// can attach one, so it counts only where every tag and image it names is in
// one of the repositories.
func ParseAttached(data []byte, repositories func(string) bool) (*Record, error) {
	r := &Record{remote: true}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("reading an attached record: %w", err)
	}
	if r.Schema > Schema {
		return nil, fmt.Errorf("reading an attached record: it is of schema %d, and this archmage knows %d: a newer one wrote it", r.Schema, Schema)
	}
	if !idForm.MatchString(r.ID) { // schema 1 attached no names
		return nil, errors.New("reading an attached record: it does not name its release")
	}
	for _, m := range r.Moves {
		i := strings.LastIndex(m.Tag, ":")
		if i < 0 || !repositories(m.Tag[:i]) {
			return nil, fmt.Errorf("reading the attached record of release %s: its tag %q is in no repository of targets.hcl", r.ID, m.Tag)
		}
		if m.Digest != "" && m.Digest.Validate() != nil || m.Previous != "" && m.Previous.Validate() != nil {
			return nil, fmt.Errorf("reading the attached record of release %s: tag %q has no digest", r.ID, m.Tag)
		}
	}
	r.Step, r.store, r.Stuck, r.Before = Verified, nil, nil, nil
	return r, nil
}

// Remote reports whether a record was read from a registry.
func (r *Record) Remote() bool { return r.remote }
