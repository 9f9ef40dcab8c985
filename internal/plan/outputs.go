package plan

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
)

// Output is a directory or file that a target's builds are written to, on this
// machine. See https://docs.docker.com/build/exporters/.
type Output struct {
	// Type is local, tar, oci or docker.
	Type string
	// Dest is the directory or file, as it was written.
	Dest string
	// Dir reports that Dest is a directory.
	Dir bool
	// Split reports that each of several platforms has a directory in it, such
	// as linux_arm64.
	Split bool
	// Delete reports that what the build did not make is removed from Dest.
	Delete bool
	// Attrs are the exporter's own.
	Attrs map[string]string

	split *bool // what the target says of Split
}

// outputs takes the target's output entries apart: what is pushed, and what is
// written to files. Without an output, the image is pushed.
func (p *planner) outputs(t *Target) {
	s := t.Spec
	if p.call(t); t.Call != "" {
		return
	}
	resolved, err := p.config.Outputs(s.Outputs)
	if err != nil {
		p.fail(s.Where("output", ""), "Invalid output", "Target %q: %s", t.Name, config.Sentence(err))
		return
	}
	t.Image = len(resolved) == 0
	for _, e := range resolved {
		switch e["type"] {
		case "image", "registry":
			t.Image = true
			for k := range e {
				if !slices.Contains(OutputOptions, k) {
					p.fail(s.Where("output", ""), "Not honoured: output", "The output option %q of target %q does not go with a push by digest. These do: %s.", k, t.Name, strings.Join(OutputOptions, ", "))
				}
			}
		case "docker":
			if e["dest"] == "" {
				t.Image = true // a local engine's image: pushed, as bake --push does
				break
			}
			p.file(t, e)
		case "local", "tar", "oci":
			p.file(t, e)
		case "cacheonly":
		default:
			p.fail(s.Where("output", ""), "Unknown output", "Target %q has output type=%s. There are: image, registry, docker, local, tar, oci, cacheonly.", t.Name, e["type"])
		}
	}
}

// call reads what the frontend is asked instead of building. The form of the answer
// is the command line's to say, in bake.
func (p *planner) call(t *Target) {
	s := t.Spec
	if s.Call == nil || t.Linked {
		return // who builds on it wants the image
	}
	name, _, _ := strings.Cut(*s.Call, ",")
	switch name {
	case "", "build":
		return
	case "check":
		name = "lint"
	}
	t.Call = name
	if bases := s.Bases(); len(bases) > 0 {
		p.fail(s.Where("call", ""), "Not honoured: call", "Target %q asks for call = %q and builds on target %q, which nobody builds for a question. Remove one of the two, or leave the target out with -targets.", t.Name, *s.Call, bases[0])
	}
}

// file adds an output that is written to files.
func (p *planner) file(t *Target, e config.Entry) {
	s := t.Spec
	o := Output{Type: e["type"], Dest: e["dest"], Dir: e["type"] == "local", Attrs: map[string]string{}}
	for k, v := range e {
		switch k {
		case "type", "dest":
		case "tar":
			if b, err := strconv.ParseBool(v); err == nil && e["type"] != "tar" && e["type"] != "local" {
				o.Dir = !b
			}
		case "mode":
			o.Delete = v == "delete"
			if v != "delete" && v != "copy" {
				p.fail(s.Where("output", ""), "Invalid output", "Target %q: the output mode %q is neither copy nor delete.", t.Name, v)
			}
		case "platform-split":
			b, err := strconv.ParseBool(v)
			if err != nil {
				p.fail(s.Where("output", ""), "Invalid output", "Target %q: platform-split=%s is neither true nor false.", t.Name, v)
			}
			o.split = &b
		default:
			o.Attrs[k] = v
		}
	}
	if o.Dest == "-" {
		p.fail(s.Where("output", ""), "Not honoured: output", "Target %q writes its %s to standard output, where the results of archmage stand. Name a file: -set=%s.output=type=%s,dest=FILE.", t.Name, o.Type, t.Name, o.Type)
	}
	t.Outputs = append(t.Outputs, o)
}

// checkOutputs completes the outputs, and refuses two outputs that would write to one place.
func (p *planner) checkOutputs() {
	type owner struct {
		target *Target
		output Output
	}
	var seen []owner
	for _, t := range p.plan.Targets {
		for i, o := range t.Outputs {
			t.Outputs[i].Split = len(t.Builds) > 1
			if o.split != nil {
				t.Outputs[i].Split = *o.split
			}
			if o.Type == "docker" && len(t.Builds) > 1 {
				p.fail(t.Spec.Where("output", ""), "Several platforms in one docker file", "Target %q is built for %d platforms, and a file of type=docker holds one. Write type=oci, which holds them all, or ask for one with -platforms.", t.Name, len(t.Builds))
			}
			for _, s := range seen {
				same := filepath.Clean(s.output.Dest) == filepath.Clean(o.Dest)
				inside := within(s.output.Dest, o.Dest) && s.output.Delete || within(o.Dest, s.output.Dest) && o.Delete
				switch {
				case same && s.target == t:
					p.fail(t.Spec.Where("output", ""), "Two outputs to one place", "Target %q writes two outputs to %s; one would overwrite the other. Give one of them another dest.", t.Name, o.Dest)
				case same:
					p.fail(t.Spec.Where("output", ""), "Two targets to one place", "Target %q writes to %s, and so does target %q; one would overwrite files of the other. Give one of them another dest, such as -set=%s.output=type=%s,dest=%s.",
						t.Name, o.Dest, s.target.Name, t.Name, o.Type, filepath.ToSlash(filepath.Join(o.Dest, t.Name)))
				case inside:
					p.fail(t.Spec.Where("output", ""), "Two targets to one place", "Target %q writes to %s and target %q to %s, one of which is in the other and removes what it did not write (mode=delete). Give one of them another dest.",
						t.Name, o.Dest, s.target.Name, s.output.Dest)
				}
			}
			seen = append(seen, owner{t, o})
		}
	}
}

// within reports whether path lies below dir.
func within(dir, path string) bool {
	rel, err := filepath.Rel(filepath.Clean(dir), filepath.Clean(path))
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
