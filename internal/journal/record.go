// Package journal keeps the record of each release on disk and decides, from
// records and from what tags point to, how an interrupted one ends and how one
// is rolled back.
package journal

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Schema is the version of the record's form. A reader refuses newer ones.
const Schema = 2

// Step is how far a release has come.
type Step string

// The steps, in order.
const (
	Building  Step = "building"
	Built     Step = "built"
	Assembled Step = "assembled"
	Uploaded  Step = "uploaded"
	Proven    Step = "proven"
	Promoting Step = "promoting"
	Promoted  Step = "promoted" // only in records of schema 1
	Verified  Step = "verified"
)

var stepOrder = []Step{"", Building, Built, Assembled, Uploaded, Proven, Promoting, Promoted, Verified}

// Kind is what a record is of.
type Kind string

// The kinds of records.
const (
	Release  Kind = "release"
	Rollback Kind = "rollback"
)

// Record is the JSON file of one release, .archmage/releases/<id>.json. It is
// written after each step, so it is the journal too.
type Record struct {
	Schema int    `json:"schema"`
	ID     string `json:"id,omitempty"`
	Step   Step   `json:"step,omitempty"`
	// Started and Updated are when the release began and when the record was
	// last written.
	Started time.Time `json:"started,omitzero"`
	Updated time.Time `json:"updated,omitzero"`
	// Kind is "release", or "rollback" for tags that were put back.
	Kind Kind `json:"kind"`
	// Undoes lists the releases that a rollback undid, Restores is the one whose
	// tags it put back, if that was asked for by name.
	Undoes   IDs    `json:"undoes,omitempty"`
	Restores string `json:"restores,omitempty"`
	// Commit is the git commit that the release was made from, Dirty reports
	// whether the checkout had changes. Both are empty outside git.
	Commit string `json:"commit,omitempty"`
	Dirty  bool   `json:"dirty,omitempty"`
	// Plan is the identity of the plan: an interrupted release goes on only for
	// the same one.
	Plan string `json:"plan,omitempty"`
	// Epoch is the time that timestamps were clamped to, in seconds since
	// 1970; nil if they were not.
	Epoch   *int64    `json:"epoch,omitempty"`
	Targets []*Target `json:"targets"`
	// Before is what each tag pointed to when the release began; a tag that did
	// not exist has "". A tag that moves meanwhile is in conflict with this
	// release.
	Before Tags `json:"before,omitempty"`
	// Moves are the tags, in the order they move, with what they pointed to
	// before.
	Moves []Move `json:"moves,omitempty"`
	// Attempt counts the promotions that were begun: of two records of one
	// release that are attached to an image, the later one counts.
	Attempt int `json:"attempt,omitempty"`
	// Stuck are moves of promotions that did not end, of this release or an
	// earlier one, that could not be put back. Previous is what a rollback of
	// what comes after restores.
	Stuck []Move `json:"stuck,omitempty"`
	// Unattached records could not be attached to their images yet.
	Unattached bool `json:"unattached,omitempty"`
	// Proofs are the verdicts of the devices, before the tags moved.
	Proofs []Proof `json:"proofs,omitempty"`
	// Smoke is the report of the devices, before the tags moved, as the smoke
	// package writes it.
	Smoke json.RawMessage `json:"smoke,omitempty"`

	store  *Store
	remote bool // read from a registry
}

// IDs are names of releases. Records of schema 1 hold one as a string.
type IDs []string

// UnmarshalJSON reads a list, or one name.
func (l *IDs) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var one string
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		*l = IDs{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// Proof is the verdict of one case on one device.
type Proof struct {
	Target   string `json:"target"`
	Platform string `json:"platform,omitempty"`
	Device   string `json:"device"`
	Verdict  string `json:"verdict"`
}

// Check is how a target's index did in an inspection or on the devices. It is
// worth nothing for another index.
type Check struct {
	Index  digest.Digest `json:"index"`
	Passed bool          `json:"passed"`
}

// Target is one target of a release.
type Target struct {
	Name string `json:"name"`
	// Linked targets were built for others and have no index.
	Linked bool     `json:"linked,omitempty"`
	Tags   []string `json:"tags,omitempty"`
	// Children are the platforms that this run built, or found to be there
	// already. Earlier are those of earlier attempts: they tell what may be
	// reused, and are never published.
	Children []*Child `json:"children,omitempty"`
	Earlier  []*Child `json:"earlier,omitempty"`
	// Index is the digest of the target's index, once assembled.
	Index digest.Digest `json:"index,omitempty"`
	// Inspected and Proven are nil where that was not done.
	Inspected *Check `json:"inspected,omitempty"`
	Proven    *Check `json:"proven,omitempty"`
}

// Child is one platform of a target.
type Child struct {
	Platform   string        `json:"platform"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	MediaType  string        `json:"mediaType"`
	// Size of the manifest or one-platform index, in bytes.
	Size int64 `json:"size"`
	// Worker that built it, and whether the platform is the worker's own.
	Worker string `json:"worker"`
	Native bool   `json:"native"`
	// Steps of the Dockerfile and how many came from the cache.
	Steps  int `json:"steps"`
	Cached int `json:"cached"`
	// Began is when it was built; Seconds is how long that took.
	Began   time.Time `json:"began,omitzero"`
	Seconds float64   `json:"seconds"`
	// Inputs is the digest of what it was built from; Complete reports whether
	// it covers everything. BuildPlatform is the worker's own platform, which is
	// one of the inputs.
	Inputs        string `json:"inputs,omitempty"`
	Complete      bool   `json:"complete,omitempty"`
	BuildPlatform string `json:"buildPlatform,omitempty"`
	// ProvenOn lists the devices that it ran on.
	ProvenOn []string `json:"provenOn,omitempty"`
	// Reused children were not built in this run: an earlier one had built them
	// from the same inputs, and the registry still has them.
	Reused bool `json:"reused,omitempty"`
}

// Save writes the record, whole or not at all.
func (r *Record) Save() error {
	r.Updated = time.Now().UTC().Truncate(time.Second)
	return r.store.save(r)
}

// Advance notes a step that is done.
func (r *Record) Advance(s Step) error {
	r.Step = s
	return r.Save()
}

// Reached reports whether the release has come as far as s.
func (r *Record) Reached(s Step) bool {
	return slices.Index(stepOrder, r.Step) >= slices.Index(stepOrder, s)
}

// SetEpoch notes the time that timestamps are clamped to, nil for none.
func (r *Record) SetEpoch(epoch *time.Time) {
	r.Epoch = nil
	if epoch != nil {
		s := epoch.Unix()
		r.Epoch = &s
	}
}

// Target returns the record of a target, or nil.
func (r *Record) Target(name string) *Target {
	for _, t := range r.Targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Child returns the record of a platform, or nil.
func (t *Target) Child(platform string) *Child {
	for _, c := range t.Children {
		if c.Platform == platform {
			return c
		}
	}
	return nil
}

// Put replaces or adds the record of a platform. The order is that of the
// platforms, whichever was built first.
func (t *Target) Put(c *Child, order []string) {
	t.Children = slices.DeleteFunc(t.Children, func(old *Child) bool { return old.Platform == c.Platform })
	t.Children = append(t.Children, c)
	slices.SortStableFunc(t.Children, func(a, b *Child) int {
		return slices.Index(order, a.Platform) - slices.Index(order, b.Platform)
	})
}
