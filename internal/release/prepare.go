package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/plan"
)

// preparation is the prepare commands of a target, one a platform.
type preparation struct {
	once sync.Once
	errs map[*plan.Build]error
	// left are the inputs of each build as its command had left them.
	left map[*plan.Build]*inputs.Reading
}

// prepare runs the prepare commands of b's target, once a release, and returns the
// error of b's.
func (s *solves) prepare(ctx context.Context, b *plan.Build) error {
	s.mu.Lock()
	p := s.prepared[b.Target]
	if p == nil {
		p = &preparation{errs: map[*plan.Build]error{}, left: map[*plan.Build]*inputs.Reading{}}
		s.prepared[b.Target] = p
	}
	s.mu.Unlock()
	p.once.Do(func() { p.run(ctx, b.Target.Builds, s) })
	return p.errs[b]
}

// run runs the commands side by side. Where several wrote one file, only the last
// of them is there, so they run again one after the other: what they write must
// then be the same for all.
func (p *preparation) run(ctx context.Context, builds []*plan.Build, s *solves) {
	began := time.Now()
	var mu sync.Mutex
	var running sync.WaitGroup
	commands := 0
	for _, b := range builds {
		if b.Spec.Prepare == nil {
			continue
		}
		commands++
		running.Go(func() {
			err := build.Prepare(ctx, b, s.display, s.options)
			mu.Lock()
			defer mu.Unlock()
			p.errs[b] = err
		})
	}
	running.Wait()
	if commands < 2 {
		return
	}
	writers := map[string][]*plan.Build{}
	for _, b := range builds {
		if b.Spec.Prepare == nil || p.errs[b] != nil || len(b.Needs) > 0 {
			continue
		}
		if p.left[b], p.errs[b] = build.ReadInputs(ctx, b, nil, b.Platform, s.options); p.errs[b] != nil {
			continue
		}
		for _, path := range p.left[b].WrittenSince(began) {
			writers[path] = append(writers[path], b)
		}
	}
	var shared []*plan.Build
	for _, b := range builds {
		if slices.ContainsFunc(values(writers), func(w []*plan.Build) bool { return len(w) > 1 && slices.Contains(w, b) }) {
			shared = append(shared, b)
		}
	}
	first := map[string]*plan.Build{}
	for _, b := range shared {
		if p.errs[b] = build.Prepare(ctx, b, s.display, s.options); p.errs[b] != nil {
			continue
		}
		if p.left[b], p.errs[b] = build.ReadInputs(ctx, b, nil, b.Platform, s.options); p.errs[b] != nil {
			continue
		}
		for path, all := range writers {
			before := first[path]
			if !slices.Contains(all, b) {
				continue
			}
			if before == nil {
				first[path] = b
				continue
			}
			if name := "file " + path; p.left[before].Parts[name] != p.left[b].Parts[name] {
				err := &build.Error{
					Build: b.ID(), Step: "prepare",
					Err:  fmt.Errorf("the commands for %s and %s write different things into one file, %s", before.PlatformName(), b.PlatformName(), strings.TrimPrefix(path, "context/")),
					Hint: "let each write below dist/$TARGETPLATFORM, and copy it from there",
				}
				p.errs[before], p.errs[b] = err, err
			}
		}
	}
}

func values(m map[string][]*plan.Build) [][]*plan.Build {
	out := make([][]*plan.Build, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// overwritten is an error where a build was not given what its prepare command had
// left: it changed since.
func (s *solves) overwritten(b *plan.Build, res *build.Result) error {
	s.mu.Lock()
	p := s.prepared[b.Target]
	s.mu.Unlock()
	if p == nil || p.left[b] == nil {
		return nil
	}
	var files []string
	for name, was := range p.left[b].Parts {
		path, ok := strings.CutPrefix(name, "file ")
		if is, there := res.Inputs.Parts[name]; ok && (!there || is != was) {
			files = append(files, strings.TrimPrefix(path, "context/"))
		}
	}
	files = append(files, res.Changed...)
	if len(files) == 0 {
		return nil
	}
	slices.Sort(files)
	return &build.Error{
		Build: b.ID(), Step: "prepare",
		Err:  fmt.Errorf("%s changed between the prepare command and the build", summary(slices.Compact(files))),
		Hint: "run the same command again; if another target's prepare command writes there, let each write to a directory that the other does not use",
	}
}
