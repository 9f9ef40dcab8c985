package release

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/smoke"
)

// RecordSchema is the version of the record's form. A reader refuses newer
// ones.
const RecordSchema = 1

// Step is how far a release has come.
type Step string

// The steps, in order.
const (
	Building   Step = "building"
	Built      Step = "built"
	Assembled  Step = "assembled"
	Uploaded   Step = "uploaded"
	Proven     Step = "proven"
	Promoting  Step = "promoting"
	Promoted   Step = "promoted"
	Verified   Step = "verified"
	incomplete Step = ""
)

var stepOrder = []Step{incomplete, Building, Built, Assembled, Uploaded, Proven, Promoting, Promoted, Verified}

// Kind is what a record is of.
type Kind string

// The kinds of records.
const (
	KindRelease  Kind = "release"
	KindRollback Kind = "rollback"
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
	// Undoes is the release that a rollback took back, Restores the one whose
	// tags it put back.
	Undoes   string `json:"undoes,omitempty"`
	Restores string `json:"restores,omitempty"`
	// Plan is a digest of the plan: an interrupted release goes on only for the
	// same one.
	Plan string `json:"plan,omitempty"`
	// Epoch is the time that timestamps were clamped to, in seconds since
	// 1970; nil if they were not.
	Epoch *int64 `json:"epoch,omitempty"`
	// Commit is the git commit that was checked out, Dirty reports whether files
	// differed from it.
	Commit  string          `json:"commit,omitempty"`
	Dirty   bool            `json:"dirty,omitempty"`
	Targets []*TargetRecord `json:"targets"`
	// Before is what each tag named when the release began; a tag that did not
	// exist has "". Whoever moves one meanwhile is in conflict with this release.
	Before map[string]digest.Digest `json:"before,omitempty"`
	// Moves are the tags, in the order they move, with what they named before.
	Moves []index.Move `json:"moves,omitempty"`
	// Smoke is what the devices said, before the tags moved.
	Smoke *smoke.Report `json:"smoke,omitempty"`

	path string
}

// TargetRecord is one target of a release.
type TargetRecord struct {
	Name string `json:"name"`
	// Linked targets were built for others and have no index.
	Linked   bool           `json:"linked,omitempty"`
	Tags     []string       `json:"tags,omitempty"`
	Children []*ChildRecord `json:"children,omitempty"`
	// Index is the digest of the target's index, once assembled.
	Index digest.Digest `json:"index,omitempty"`
}

// ChildRecord is one platform of a target.
type ChildRecord struct {
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
	// Seconds the build took.
	Seconds float64 `json:"seconds"`
	// Inputs is the fingerprint of what it was built from; Whole says that the
	// fingerprint covers everything.
	Inputs string `json:"inputs,omitempty"`
	Whole  bool   `json:"whole,omitempty"`
	// ProvenOn names the devices that it ran on.
	ProvenOn []string `json:"provenOn,omitempty"`
	// Kept children were not built in this run: an earlier one had built them
	// from the same inputs, and the registry still has them.
	Kept bool `json:"kept,omitempty"`
}

// begin opens the record of a release: the newest one where that was
// interrupted and has the same plan, so that what its tags named before is not
// forgotten; else a new one. Fresh asks for a new one.
func (w *Workspace) begin(p *plan.Plan, epoch *time.Time, fresh bool) (*Record, error) {
	if err := w.open(); err != nil {
		return nil, err
	}
	dgst := planDigest(p)
	if last, err := w.latest(); err == nil && !fresh && last.Kind == KindRelease && !last.reached(Verified) && last.Plan == dgst {
		w.say("going on with release %s, which was interrupted", last.ID)
		last.setEpoch(epoch)
		return last, nil
	}
	r, err := w.newRecord(KindRelease)
	if err != nil {
		return nil, err
	}
	r.Plan = dgst
	r.setEpoch(epoch)
	for _, t := range p.Targets {
		tr := &TargetRecord{Name: t.Name, Linked: t.Linked}
		for _, tag := range t.Tags {
			tr.Tags = append(tr.Tags, tag.String())
		}
		r.Targets = append(r.Targets, tr)
	}
	return r, nil // saved when it is known what the tags name
}

func (r *Record) setEpoch(epoch *time.Time) {
	r.Epoch = nil
	if epoch != nil {
		s := epoch.Unix()
		r.Epoch = &s
	}
}

// newRecord gives a record its name, which sorts by time. A clock that was put
// back must not make it an old one, so it sorts behind every other.
func (w *Workspace) newRecord(k Kind) (*Record, error) {
	var unique [3]byte
	if _, err := rand.Read(unique[:]); err != nil {
		return nil, fmt.Errorf("naming the release: %w", err)
	}
	now := time.Now().UTC()
	stamp := now.Truncate(time.Second) // the names hold no more
	ids, err := w.recordIDs()
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		last, _, _ := strings.Cut(ids[len(ids)-1], "-")
		if t, err := time.Parse(idTime, last); err == nil && !stamp.After(t) {
			stamp = t.Add(time.Second)
		}
	}
	r := &Record{Schema: RecordSchema, Kind: k, Step: Building, Started: now.Truncate(time.Millisecond), ID: stamp.Format(idTime) + "-" + hex.EncodeToString(unique[:])}
	r.path = w.path("releases", r.ID+".json")
	return r, nil
}

const idTime = "20060102T150405Z"

// planDigest sums what decides a release besides the inputs of its builds.
func planDigest(p *plan.Plan) string {
	data, err := json.Marshal(struct {
		Plan    planJSON
		Release any
	}{planView(p), []any{p.Release.Attestations, p.Release.MediaTypes, p.Release.ArchTags}})
	if err != nil {
		return "" // plain strings always encode
	}
	return digest.FromBytes(data).String()
}

// save writes the record whole or not at all.
func (r *Record) save() error {
	r.Updated = time.Now().UTC().Truncate(time.Second)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the record %q: %w", r.ID, err)
	}
	return stateError(writeFile(r.path, append(data, '\n')))
}

// public is the record as it is attached to an index: what is the same for
// every run that released the same, so that the same attachment is made once.
func (r *Record) public() ([]byte, error) {
	c := *r
	c.Started, c.Updated, c.ID, c.Before, c.Moves, c.Step = time.Time{}, time.Time{}, "", nil, nil, ""
	c.Targets = nil
	for _, t := range r.Targets {
		tc := *t
		tc.Children = nil
		for _, child := range t.Children {
			cc := *child
			cc.Seconds, cc.Kept, cc.Cached = 0, false, 0
			tc.Children = append(tc.Children, &cc)
		}
		c.Targets = append(c.Targets, &tc)
	}
	data, err := json.MarshalIndent(&c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the record: %w", err)
	}
	return data, nil
}

// writeFile replaces a file by rename, flushed to disk before and after, so
// that a crash leaves the old file or the new one.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, partial+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// advance notes a step that is done.
func (r *Record) advance(s Step) error {
	r.Step = s
	return r.save()
}

// takenBack notes that a promotion failed and left every tag as it was: there is
// nothing of it to roll back. After a conflict the next run begins with what the
// tags name then.
func (r *Record) takenBack(before Step, failure error) error {
	var half *index.HalfMovedError
	if errors.As(failure, &half) {
		return nil
	}
	r.Step, r.Moves = before, nil
	var conflict *index.ConflictError
	if errors.As(failure, &conflict) {
		r.Before = nil
	}
	return r.save()
}

// reached says whether the release has come as far as s.
func (r *Record) reached(s Step) bool {
	return slices.Index(stepOrder, r.Step) >= slices.Index(stepOrder, s)
}

// built says whether this run has built anything, which asked the registries
// whether they take a push.
func (r *Record) built() bool {
	return slices.ContainsFunc(r.Targets, func(t *TargetRecord) bool {
		return slices.ContainsFunc(t.Children, func(c *ChildRecord) bool { return !c.Kept })
	})
}

// moves says whether a tag named something else than it shall when the release
// began.
func (r *Record) moves() bool {
	return slices.ContainsFunc(r.Targets, func(t *TargetRecord) bool {
		return slices.ContainsFunc(t.Tags, func(tag string) bool { return r.Before[tag] != t.Index })
	})
}

// target returns the record of a target, or nil.
func (r *Record) target(name string) *TargetRecord {
	for _, t := range r.Targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// child returns the record of a platform, or nil.
func (t *TargetRecord) child(platform string) *ChildRecord {
	for _, c := range t.Children {
		if c.Platform == platform {
			return c
		}
	}
	return nil
}

// put replaces or adds the record of a platform. The order is that of the
// platforms, whichever was built first.
func (t *TargetRecord) put(c *ChildRecord, order []string) {
	t.Children = slices.DeleteFunc(t.Children, func(old *ChildRecord) bool { return old.Platform == c.Platform })
	t.Children = append(t.Children, c)
	slices.SortStableFunc(t.Children, func(a, b *ChildRecord) int {
		return slices.Index(order, a.Platform) - slices.Index(order, b.Platform)
	})
}

// NoRecordError says that a step was asked for before the one it builds on.
type NoRecordError struct {
	Dir  string
	Want string
}

func (e *NoRecordError) Error() string {
	return fmt.Sprintf("there is nothing to go on from in %s: %s", e.Dir, e.Want)
}

// Remedy is what to do next.
func (e *NoRecordError) Remedy() string {
	return "run `mage build` first, or `mage release` for all of it"
}

// recordIDs are the names of all records, the oldest first.
func (w *Workspace) recordIDs() ([]string, error) {
	entries, err := os.ReadDir(w.path("releases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, stateError(fmt.Errorf("reading the records: %w", err))
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && !strings.HasPrefix(id, ".") {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// latest reads the newest record.
func (w *Workspace) latest() (*Record, error) {
	ids, err := w.recordIDs()
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, &NoRecordError{Dir: w.path(), Want: "no build was recorded"}
	}
	return w.record(ids[len(ids)-1])
}

// record reads one by its name, or by the beginning of it.
func (w *Workspace) record(id string) (*Record, error) {
	ids, err := w.recordIDs()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, have := range ids {
		if strings.HasPrefix(have, id) {
			found = append(found, have)
		}
	}
	switch len(found) {
	case 0:
		return nil, usage("Unknown release", fmt.Errorf("there is no release %q; `mage releases` lists them", id))
	case 1:
		return readRecord(w.path("releases", found[0]+".json"))
	}
	return nil, usage("Ambiguous release", fmt.Errorf("%q begins the names of %d releases: %s", id, len(found), strings.Join(found, ", ")))
}

func readRecord(path string) (*Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the record: %w", err)
	}
	r := &Record{path: path}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, &RecordError{Path: path, Err: err}
	}
	if r.Schema > RecordSchema {
		return nil, &RecordError{Path: path, Err: fmt.Errorf("it is of schema %d, and this archmage knows %d: a newer one wrote it", r.Schema, RecordSchema)}
	}
	if r.ID == "" || r.ID+".json" != filepath.Base(path) {
		return nil, &RecordError{Path: path, Err: errors.New("it is no record of archmage's")}
	}
	return r, nil
}

// RecordError is a record that cannot be read. It is never written over.
type RecordError struct {
	Path string
	Err  error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the record %s is unreadable: %v", e.Path, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *RecordError) Remedy() string {
	return "move the file away to go on without it (a release only loses what it had built), or use the archmage that wrote it"
}
