package build

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/archmage-build/archmage/internal/plan"
)

// staged is where output i of a target is received, for one platform: a
// directory for type=local, else a file.
func staged(o Options, b *plan.Build, i int) string {
	return filepath.Join(stagedOutput(o, b.Target, i), "received", platformDirectory(b))
}

// stagedOutput holds all of one output of a target until it is delivered.
func stagedOutput(o Options, t *plan.Target, i int) string {
	return filepath.Join(o.Scratch, "outputs", t.Name, strconv.Itoa(i))
}

// fileExports receive the build's files, each output on its own. What an earlier
// attempt on another worker left is removed.
func fileExports(b *plan.Build, o Options) ([]client.ExportEntry, error) {
	if o.Unpushed {
		return nil, nil
	}
	var out []client.ExportEntry
	for i, output := range b.Target.Outputs {
		at := staged(o, b, i)
		if err := os.RemoveAll(at); err != nil {
			return nil, fmt.Errorf("making room for output %s: %w", output.Dest, err)
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return nil, fmt.Errorf("making room for output %s: %w", output.Dest, err)
		}
		e := client.ExportEntry{Type: output.Type, Attrs: maps.Clone(output.Attrs)}
		if output.Type == client.ExporterLocal {
			if output.Split { // also where BuildKit is asked for one platform
				e.Attrs["platform-split"] = "true"
			}
			e.OutputDir = at
			out = append(out, e)
			continue
		}
		e.Output = func(map[string]string) (io.WriteCloser, error) { return os.Create(at) }
		if output.Type != client.ExporterTar {
			imageAttrs(e.Attrs, b, o)
		}
		out = append(out, e)
	}
	return out, nil
}

// imageAttrs are those of an image in a file: its names, and the times and
// annotations that a pushed one would have.
func imageAttrs(m map[string]string, b *plan.Build, o Options) {
	if m["name"] == "" {
		var names []string
		for _, tag := range b.Target.Tags {
			names = append(names, tag.String())
		}
		if len(names) > 0 {
			m["name"] = strings.Join(names, ",")
		}
	}
	addEpoch(m, b, o)
	addAnnotations(m, b)
}
