package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/archmage-build/archmage/internal/plan"
)

// Mistake is something in a build's settings or files that no daemon could make
// an image of, found before one is asked.
type Mistake struct {
	// Attr is the attribute of the target that it stands in; "" for the target
	// as a whole.
	Attr string
	// Text is a sentence for people.
	Text string
	// File and Line are the place within another file that Attr leads to, "" and
	// 0 for none.
	File string
	Line int
}

// Check looks at what a build reads on this machine: its settings, context,
// Dockerfile, named contexts and ignore files. What its prepare command has yet
// to make cannot be asked for.
func Check(b *plan.Build, o Options) []Mistake {
	c := &checker{build: b, options: o}
	c.settings()
	prepared := b.Spec.Prepare != nil
	if prepared {
		c.prepare()
	}
	at := Locate(b.Spec, o.Dir)
	if at.Remote == "" && !prepared {
		if why := noDirectory(at.Context); why != "" {
			c.say("context", "Target %q is built from the directory %s, which %s.", b.Target.Name, at.Context, why)
			return c.found
		}
	}
	c.dockerfile(at, prepared)
	for _, name := range slices.Sorted(maps.Keys(b.Spec.Contexts)) {
		c.namedContext(name, prepared)
	}
	return c.found
}

type checker struct {
	build   *plan.Build
	options Options
	found   []Mistake
	// text is the Dockerfile, if it could be read here.
	text string
}

func (c *checker) say(attr, format string, args ...any) {
	c.found = append(c.found, Mistake{Attr: attr, Text: fmt.Sprintf(format, args...)})
}

// settings are those that only need to be read.
func (c *checker) settings() {
	_, err := attrs(c.build, c.options)
	if err == nil {
		_, err = allowed(c.build.Spec)
	}
	if err != nil {
		c.say("", "Target %q cannot be built as it is set: %v.", c.build.Target.Name, err)
	}
}

// prepare asks for the directory that the command runs in; it cannot make that
// itself.
func (c *checker) prepare() {
	if why := shellWords(c.build.Spec.Prepare.Command); why != "" {
		c.say("command", "In the prepare command of target %q, %s.", c.build.Target.Name, why)
	}
	dir := c.build.Spec.Prepare.Dir
	if dir == "" && remote(c.options.Dir, value(c.build.Spec.Context)) {
		return
	}
	if dir == "" {
		dir = localPath(value(c.build.Spec.Context))
	}
	dir = absolute(c.options.Dir, dir)
	if why := noDirectory(dir); why != "" {
		c.say("prepare", "The prepare command of target %q runs in the directory %s, which %s.", c.build.Target.Name, dir, why)
	}
}

func (c *checker) dockerfile(at Place, prepared bool) {
	target := c.build.Target.Name
	switch path := at.Path(); {
	case at.Inline != "":
		c.text = at.Inline
	case prepared || path == "":
	case at.Missing():
		_, err := os.Stat(path)
		c.say("dockerfile", "Target %q is built by %s, which %s. Write it, or name another with dockerfile, relative to the context.", target, path, problem(err))
	default:
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			c.say("dockerfile", "Target %q is built by %s, which is a directory. Name the file in it.", target, path)
			break
		}
		text, err := os.ReadFile(path)
		if err != nil { // BuildKit takes a lowercase name too
			text, _ = os.ReadFile(filepath.Join(at.Directory, strings.ToLower(at.Name)))
		}
		c.text = string(text) // what cannot be read is BuildKit's to say
	}
	if at.Remote != "" {
		return
	}
	if at.Directory != "" && c.ignoreFile("dockerfile", at.Path()+".dockerignore") {
		return // it counts instead of the context's
	}
	c.ignoreFile("context", filepath.Join(at.Context, ".dockerignore"))
}

func (c *checker) namedContext(name string, prepared bool) {
	value, target := c.build.Spec.Contexts[name], c.build.Target.Name
	if _, err := reference.ParseNormalizedNamed(name); err != nil {
		c.say("contexts", "No Dockerfile can name the context %q of target %q: %v.", name, target, err)
		return
	}
	switch {
	case strings.HasPrefix(value, "target:"):
	case strings.HasPrefix(value, "docker-image:"):
		ref := strings.TrimPrefix(strings.TrimPrefix(value, "docker-image:"), "//")
		if _, err := reference.ParseNormalizedNamed(ref); err != nil {
			c.say("contexts", "The context %q of target %q is the image %q, which is no reference: %v.", name, target, ref, err)
		}
	case prepared:
	case strings.HasPrefix(value, "oci-layout:"):
		if _, err := ociLayout(strings.TrimPrefix(strings.TrimPrefix(value, "oci-layout:"), "//"), &client.SolveOpt{}, c.options); err != nil {
			c.say("contexts", "The context %q of target %q cannot be used: %v.", name, target, err)
		}
	case remote(c.options.Dir, value):
	default:
		dir := absolute(c.options.Dir, localPath(value))
		if why := noDirectory(dir); why != "" {
			c.say("contexts", "The context %q of target %q is the directory %s, which %s.", name, target, dir, why)
			return
		}
		if strings.Contains(c.text, name) { // BuildKit reads it only where it is used
			c.ignoreFile("contexts", filepath.Join(dir, ".dockerignore"))
		}
	}
}

// ignoreFile finds the first pattern of an ignore file that BuildKit would
// refuse, and reports whether there is such a file.
func (c *checker) ignoreFile(attr, path string) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	if line, err := badPattern(data); err != nil {
		c.found = append(c.found, Mistake{
			Attr: attr, File: path, Line: line,
			Text: fmt.Sprintf("Line %d of %s, which says what is left out of a context of target %q, is no pattern: %v.", line, path, c.build.Target.Name, err),
		})
	}
	return true
}

// badPattern returns the first line of an ignore file whose pattern is none.
func badPattern(data []byte) (int, error) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		patterns, err := ignorefile.ReadAll(bytes.NewReader(line))
		if err != nil {
			return i + 1, err
		}
		matcher, err := patternmatcher.New(patterns)
		if err == nil { // some show only once they are used
			_, err = matcher.MatchesOrParentMatches("a/b")
		}
		if err != nil {
			return i + 1, err
		}
	}
	return 0, nil
}

// noDirectory says why a path is no directory that can be read, "" if it is.
func noDirectory(path string) string {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return problem(err)
	case !st.IsDir():
		return "is a file; a context is a directory"
	}
	f, err := os.Open(path)
	if err != nil {
		return problem(err)
	}
	_ = f.Close() // it was only tried
	return ""
}

// problem is what the system says of a path, for a sentence that names it.
func problem(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is not there"
	case errors.As(err, &path):
		err = path.Err
	}
	return "cannot be read: " + err.Error()
}
