package build

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/archmage-build/archmage/internal/plan"
)

// RunsPrograms says whether building b executes programs of its platform: a
// RUN in a stage that its image comes from, unless that stage is pinned to the
// worker's own platform with FROM --platform=$BUILDPLATFORM. The line of the
// first such RUN comes with it. What cannot be told, such as a Dockerfile that
// only the worker fetches, counts as no.
func RunsPrograms(b *plan.Build, o Options) (line int, runs bool) {
	text, ok := dockerfile(b, o)
	if !ok {
		return 0, false
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return 0, false // BuildKit says it better
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil || len(stages) == 0 {
		return 0, false
	}
	last := len(stages) - 1
	if t := value(b.Spec.Target); t != "" {
		if i, ok := instructions.HasStage(stages, t); ok {
			last = i
		}
	}
	seen := map[int]bool{}
	var visit func(int) (int, bool)
	visit = func(i int) (int, bool) {
		if seen[i] {
			return 0, false
		}
		seen[i] = true
		s := stages[i]
		pinned := strings.Contains(s.Platform, "BUILDPLATFORM") || strings.Contains(s.Platform, "BUILDARCH")
		needs := []string{s.BaseName}
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.RunCommand:
				if !pinned {
					return c.Location()[0].Start.Line, true
				}
			case *instructions.CopyCommand:
				needs = append(needs, c.From)
			}
		}
		for _, n := range needs {
			if j, ok := instructions.HasStage(stages[:i], n); ok && n != "" {
				if line, runs := visit(j); runs {
					return line, true
				}
			}
		}
		return 0, false
	}
	return visit(last)
}

// dockerfile reads what is here to be read.
func dockerfile(b *plan.Build, o Options) ([]byte, bool) {
	s := b.Spec
	if s.DockerfileInline != nil && *s.DockerfileInline != "" {
		return []byte(*s.DockerfileInline), true
	}
	context := value(s.Context)
	if Remote(context) {
		return nil, false
	}
	path := strings.TrimPrefix(value(s.Dockerfile), "cwd://")
	if !filepath.IsAbs(path) {
		dir := localPath(context)
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(o.Dir, dir)
		}
		path = filepath.Join(dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return text, err == nil
}
