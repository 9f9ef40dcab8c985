package release

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
)

// go test ./internal/release -run TestModel -schedules=10000 -rapid.seed=1 is the
// full size, with other schedules for each seed.
var schedules = flag.Int("schedules", 50, "how many random schedules TestModel runs")

// modelSeed is the seed unless -rapid.seed gives another one. With it requests are
// made one at a time, so that what CI runs does not depend on chance.
const modelSeed = 20240517

// TestModel runs random schedules of two clones with one registry: releases of
// two versions that share a tag, of changed and unchanged sources, kills at any
// request or write, tags that others move or delete, rollbacks, force, and
// releases in the middle of each other. After each command
//   - the tags of its plan are a set that some release published whole (or that
//     others made of one), or the command has named those that are not,
//   - a record that was closed is as it was,
//   - a rollback has gone back by one release that was not undone yet,
//
// and at the end each clone can release again.
func TestModel(t *testing.T) {
	options := map[string]string{"rapid.checks": strconv.Itoa(*schedules), "rapid.nofailfile": "true"}
	jobs := 0
	if f := flag.Lookup("rapid.seed"); f.Value.String() == f.DefValue {
		options["rapid.seed"], jobs = strconv.Itoa(modelSeed), 1
	}
	for name, value := range options {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.jobs = jobs
	began, commands := time.Now(), map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		w.reset(rapid.Bool().Draw(rt, "referrers"), rapid.IntRange(0, 4).Draw(rt, "removal") == 0)
		m := &model{T: rt, world: w, commands: commands, whole: map[string][]journal.Tags{}, closed: map[string]*journal.Record{}, settled: map[string]bool{}}
		for i := range 2 {
			c := w.clone()
			defer c.remove()
			m.clones[i] = c
		}
		m.base = w.tags()
		m.publish()
		for range rapid.IntRange(3, 9).Draw(rt, "commands") {
			m.step()
		}
		m.ends()
	})
	t.Logf("%d schedules in %s: %v", *schedules, time.Since(began).Round(time.Second), commands)
}

// model is what should be.
type model struct {
	*rapid.T
	world    *world
	commands map[string]int
	clones   [2]*clone
	open     [2]*journal.Record // what a kill left, of each clone

	base  journal.Tags              // the last set that was published whole
	whole map[string][]journal.Tags // all of them, by version
	stack []entry                   // what was published and not undone
	// settled are promotions that died when all their tags had moved, or rollbacks
	// that will be finished.
	settled map[string]bool
	fuzzy   bool // two releases at once: their order is not known
	closed  map[string]*journal.Record
	n       int
}

// entry is one release that was published.
type entry struct{ before, after journal.Tags }

func (w *world) planTags(version string) []string {
	var out []string
	for _, tag := range worldTags {
		if v, _, _ := strings.Cut(tag, "-"); v == version || v == "latest" {
			out = append(out, w.host+"/app:"+tag)
		}
	}
	return out
}

func only(tags journal.Tags, names []string) journal.Tags {
	out := journal.Tags{}
	for _, n := range names {
		out[n] = tags[n]
	}
	return out
}

// brief is a set of tags for a log.
func brief(tags journal.Tags) string {
	var out []string
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, fmt.Sprintf("%s=%.6s", tag[strings.LastIndex(tag, ":")+1:], strings.TrimPrefix(tags[tag].String(), "sha256:")))
	}
	return strings.Join(out, " ")
}

// publish notes that base is a whole set.
func (m *model) publish() {
	for _, v := range []string{"1", "2"} {
		m.whole[v] = append(m.whole[v], only(m.base, m.world.planTags(v)))
	}
}

func (m *model) step() {
	who := rapid.IntRange(0, 1).Draw(m.T, "clone")
	version := rapid.SampledFrom([]string{"1", "1", "2"}).Draw(m.T, "version")
	at, after := 0, false
	if rapid.IntRange(0, 1).Draw(m.T, "kill") == 0 {
		at, after = rapid.IntRange(1, 75).Draw(m.T, "at"), rapid.Bool().Draw(m.T, "after")
	}
	switch op := rapid.SampledFrom([]string{"release", "release", "release", "rollback", "rollback", "release", "force", "foreign", "delete", "between"}).Draw(m.T, "command"); op {
	case "release", "force":
		m.release(who, version, op == "force", at, after)
	case "rollback":
		m.rollback(who, version, at, after)
	case "foreign", "delete":
		m.other(op == "delete")
	case "between":
		m.between(who, version)
	}
}

// content is a changed source, or the last one, or an older one again.
func (m *model) content() string {
	switch rapid.IntRange(0, 5).Draw(m.T, "unchanged") {
	case 0:
		return fmt.Sprint("content ", m.n)
	case 1:
		return fmt.Sprint("content ", rapid.IntRange(0, m.n).Draw(m.T, "source"))
	}
	m.n++
	return fmt.Sprint("content ", m.n)
}

// settle is what the next command of a clone makes of what a kill left.
func (m *model) settle(who int) (version string) {
	r := m.open[who]
	if r == nil {
		return ""
	}
	version = "1"
	if slices.ContainsFunc(r.Moves, func(mv journal.Move) bool { return strings.Contains(mv.Tag, ":2") }) {
		version = "2"
	}
	now := m.world.tags()
	all, moved := true, false
	for _, mv := range r.Moves {
		all = all && now[mv.Tag] == mv.Digest
		moved = moved || now[mv.Tag] == mv.Digest && mv.Digest != mv.Previous
	}
	key := fmt.Sprint(who, " ", r.ID, " ", r.Attempt)
	if m.settled[key] && !all && r.Kind == journal.Release {
		// It died when all its tags had moved, before its record said so, and then
		// another moved one of them. Nothing tells that from a release that died
		// half way, so its next command puts the others back, and names each: it
		// was not published.
		delete(m.settled, key)
		after := maps.Clone(m.base)
		for _, mv := range r.Moves {
			if now[mv.Tag] == mv.Digest {
				after[mv.Tag] = mv.Previous
			}
		}
		m.stack = slices.DeleteFunc(m.stack, func(e entry) bool {
			return !slices.ContainsFunc(r.Moves, func(mv journal.Move) bool { return e.after[mv.Tag] != mv.Digest })
		})
		m.base = after
		m.publish()
		return version
	}
	if len(r.Moves) == 0 || m.settled[key] || !all && (r.Kind == journal.Release || !moved) {
		return version
	}
	m.settled[key] = true
	after := maps.Clone(m.base)
	for _, mv := range r.Moves {
		after[mv.Tag] = mv.Digest
	}
	m.done(r.Kind, version, after)
	return version
}

// done notes a release or rollback that was carried through.
func (m *model) done(kind journal.Kind, version string, after journal.Tags) {
	names := m.world.planTags(version)
	if kind == journal.Release {
		if !maps.Equal(only(m.base, names), only(after, names)) {
			m.stack = append(m.stack, entry{only(m.base, names), only(after, names)})
		}
	} else {
		for i, e := range slices.Backward(m.stack) {
			fits := true
			for tag, d := range e.before {
				fits = fits && (d == after[tag] || d == "" && m.world.noRemoval)
			}
			if fits {
				m.stack = slices.Delete(m.stack, i, i+1)
				break
			}
		}
	}
	m.base = after
	m.publish()
}

func (m *model) release(who int, version string, force bool, at int, after bool) {
	was := m.settle(who)
	e := m.clones[who].release(version, m.content(), force, at, after, nil)
	m.released(who, e, version, was)
}

// released is the end of a release, killed or not.
func (m *model) released(who int, e ended, version, was string) {
	if !e.killed && e.err == nil {
		m.done(journal.Release, version, m.world.tags())
	}
	m.ended("release", who, e, version, was)
}

func (m *model) rollback(who int, version string, at int, after bool) {
	was := m.settle(who)
	pre := m.world.tags()
	half := m.open[who] != nil || m.open[1-who] != nil && !maps.Equal(pre, m.base)
	e := m.clones[who].rollback(version, "", false, at, after)
	m.ended("rollback", who, e, version, was)
	if e.killed || e.err != nil {
		return
	}
	now := m.world.tags()
	if maps.Equal(pre, now) && strings.Contains(e.said, "nothing was rolled back") {
		return // the other clone had, or the registry removes no tags
	}
	if half || m.fuzzy { // it may have taken back what was half moved
		m.done(journal.Rollback, version, now)
		return
	}
	// One release that is what the tags were: it is undone, and nothing else.
	for _, e := range slices.Backward(m.stack) {
		fits := true
		for tag, d := range e.after {
			fits = fits && (pre[tag] == d || pre[tag] == e.before[tag] || d == e.before[tag]) // others may have put it back already
		}
		want := maps.Clone(pre)
		for tag, d := range e.before {
			if d != e.after[tag] {
				want[tag] = d
			}
		}
		if m.world.noRemoval {
			for tag := range want {
				if want[tag] == "" {
					want[tag] = now[tag]
				}
			}
		}
		if fits && maps.Equal(want, now) {
			m.done(journal.Rollback, version, now)
			return
		}
	}
	m.Fatalf("the rollback went from\n%v\nto\n%v\nwhich undoes no release:\n%s", pre, now, e.said)
}

// other is somebody who moves or deletes a tag.
func (m *model) other(remove bool) {
	m.n++
	m.commands["others"]++
	tag := rapid.SampledFrom(worldTags).Draw(m.T, "tag")
	ref := m.world.host + "/app:" + tag
	d := digest.Digest("")
	if remove {
		// A latest that is gone looks like that of a release that died before it.
		m.fuzzy = m.fuzzy || tag == "latest"
		m.world.direct("DELETE", "/v2/app/manifests/"+tag, "", nil)
	} else {
		d = m.world.foreign(tag, m.n)
	}
	m.base = maps.Clone(m.base)
	m.base[ref] = d
	m.publish()
	m.Logf("others made %s %.19s", ref, d)
}

// between has one clone's release in the middle of the other's.
func (m *model) between(who int, version string) {
	was, wasOther := m.settle(who), m.settle(1-who)
	second := rapid.SampledFrom([]string{"1", "2"}).Draw(m.T, "other version")
	content, other := m.content(), m.content()
	at := rapid.IntRange(1, 75).Draw(m.T, "at")
	var inner ended
	ran := false
	e := m.clones[who].release(version, content, false, at, false, func() {
		ran = true
		inner = m.clones[1-who].release(second, other, false, 0, false, nil)
	})
	if !ran {
		m.released(who, e, version, was)
		return
	}
	m.fuzzy = true
	now := m.world.tags()
	if e.err == nil || inner.err == nil {
		// Either of the two is there whole, by version.
		for _, v := range []string{version, second} {
			names := m.world.planTags(v)
			if e.err == nil && v == version || inner.err == nil && v == second {
				if now[names[0]] == "" {
					m.Fatalf("released, but %s does not exist:\n%s\n%s", names[0], e.said, inner.said)
				}
			}
		}
		if version == second && now[m.world.host+"/app:"+version] != now[m.world.host+"/app:latest"] {
			m.Fatalf("a mixture: %v\n%s\n%s", now, e.said, inner.said)
		}
		m.base = now
		m.publish()
	}
	both := ended{said: e.said + inner.said, err: e.err}
	m.ended("between", who, both, version, was)
	both.err = inner.err
	m.ended("between", 1-who, both, second, wasOther)
}

// ended checks what holds after every command.
func (m *model) ended(what string, who int, e ended, versions ...string) {
	c := m.clones[who]
	if e.killed {
		what += " killed"
	}
	m.commands[what]++
	m.Logf("%s by clone %d of version %s:\n%s\n%s", what, who, versions[0], e.said, brief(m.world.tags()))
	var newest *journal.Record
	records := c.records()
	if len(records) > 0 {
		newest = records[slices.Max(slices.Collect(maps.Keys(records)))]
	}
	// Nothing that was recorded is lost.
	for id, was := range m.closed {
		if owner, rest, _ := strings.Cut(id, " "); owner == fmt.Sprint(who) {
			r := records[rest]
			if r == nil || r.Step != was.Step || !slices.Equal(r.Moves, was.Moves) {
				m.Fatalf("the record %s was\n%+v\nand is\n%+v", rest, was, r)
			}
		}
	}
	fresh := false
	for id, r := range records {
		if key := fmt.Sprint(who, " ", id); r.Closed() && m.closed[key] == nil {
			m.closed[key] = r
			fresh = fresh || r == newest
		}
	}
	left := m.open[who]
	m.open[who] = nil
	if newest != nil && newest.Open() {
		m.open[who] = newest
		// Where no tag that a version has points to an index, nothing in the
		// registry leads another machine to what it is: a first release that died
		// before its index had a tag.
		now := m.world.tags()
		for _, v := range []string{"1", "2"} {
			tags := m.world.planTags(v)
			if !slices.ContainsFunc(newest.Moves, func(mv journal.Move) bool {
				return mv.Platform == "" && slices.Contains(tags, mv.Tag) && now[mv.Tag] != ""
			}) {
				m.fuzzy = true
				m.whole[v] = append(m.whole[v], only(now, tags))
			}
		}
	}
	if e.killed {
		// It may have died when all was done.
		if fresh && (left == nil || left.ID != newest.ID) && len(newest.Changed()) > 0 {
			m.done(newest.Kind, versions[0], m.world.tags())
		}
		m.settle(who)
		return
	}
	if e.err != nil {
		var conflict *index.ConflictError
		var none *journal.NoRecordError
		var half *index.HalfMovedError
		var input *InputError
		if !errors.As(e.err, &conflict) && !errors.As(e.err, &none) && !errors.As(e.err, &input) && !(m.world.noRemoval && errors.As(e.err, &half)) && !strings.Contains(e.said, "could not be moved") {
			m.Fatalf("%s: %v\n%s", what, e.err, e.said)
		}
	}
	now := m.world.tags()
	for _, v := range versions {
		if v == "" || e.err == nil && v == versions[0] && !strings.HasPrefix(what, "rollback") {
			continue // a release that went well is checked by what it made
		}
		got := only(now, m.world.planTags(v))
		ok := slices.ContainsFunc(m.whole[v], func(s journal.Tags) bool { return len(unnamed(s, got, e.said)) == 0 })
		// A rollback makes a set of its own out of two that were whole, if one of
		// them was of another version.
		if !ok && !(e.err == nil && strings.HasPrefix(what, "rollback")) {
			m.Fatalf("%s: the tags of version %s are no whole set, and not named:\n%v\nlast whole: %v\n%s", what, v, got, only(m.base, m.world.planTags(v)), e.said)
		}
	}
	if e.err == nil && strings.HasPrefix(what, "release") {
		// Whole: the same index under both tags, the same images.
		v := versions[0]
		host := m.world.host + "/app:"
		for _, suffix := range []string{"", "-amd64", "-arm64"} {
			if now[host+v+suffix] != now[host+"latest"+suffix] || now[host+v+suffix] == "" {
				m.Fatalf("released, but the tags are a mixture: %v\n%s", now, e.said)
			}
		}
	}
}

// ends has each clone release once more: it may be told of a conflict once.
func (m *model) ends() {
	for who := range m.clones {
		version := rapid.SampledFrom([]string{"1", "2"}).Draw(m.T, "version")
		ok := false
		for range 2 {
			was := m.settle(who)
			m.n++
			e := m.clones[who].release(version, fmt.Sprint("content ", m.n), false, 0, false, nil)
			m.released(who, e, version, was)
			if ok = e.err == nil; ok {
				break
			}
		}
		if !ok {
			m.Fatalf("clone %d cannot release version %s any more", who, version)
		}
	}
}
