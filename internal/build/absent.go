package build

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/archmage-build/archmage/internal/plan"
)

// noChecksum is what the daemon says of a COPY or ADD whose source is not there:
// it names the source, among private names.
var noChecksum = regexp.MustCompile(`^failed to (?:calculate checksum|compute cache key).*: "?(/[^"]*?)"?: not found$`)

// absent says of a step that copies what is not there where it was looked for,
// and what to do. It changes words only: ok is false for any other failure.
func absent(b *plan.Build, o Options, step, reason string) (text, hint string, ok bool) {
	m := noChecksum.FindStringSubmatch(reason)
	if m == nil {
		return "", "", false
	}
	name := strings.TrimPrefix(m[1], "/")
	if from := copiedFrom(step); from != "" {
		return fmt.Sprintf("%q is not in %q", m[1], from), "check the path, and what the steps of that stage or image leave there", true
	}
	at := Locate(b.Spec, o.Dir)
	if at.Remote != "" || at.Context == "" {
		return fmt.Sprintf("%q is not in the context", name), "check the path: it is relative to the root of the context", true
	}
	text = fmt.Sprintf("%q is not in the context %s", name, at.Context)
	if _, err := os.Lstat(filepath.Join(at.Context, filepath.FromSlash(name))); err == nil {
		if file, line := ignoring(at, name); file != "" {
			return fmt.Sprintf("%q is left out of the context by %s, line %d", name, file, line), "remove the line, or follow it by an exception: !" + name, true
		}
		return text, "it is there now: was it made while the build ran?", true
	}
	hint = "check the path: it is relative to the context"
	if b.Spec.Prepare == nil {
		hint += "; if a command is to make it first, give the target a prepare block"
	} else {
		hint += "; the prepare command of the target did not make it"
	}
	return text, hint, true
}

var fromFlag = regexp.MustCompile(`(?i)\b(?:COPY|ADD)\b.* --from=(\S+)`)

// copiedFrom is the stage, image or context that a step copies from, "" for the
// build context.
func copiedFrom(step string) string {
	if m := fromFlag.FindStringSubmatch(step); m != nil {
		return m[1]
	}
	return ""
}

// ignoring is the ignore file that leaves name out of the context, and the line
// that does it; "" for none.
func ignoring(at Place, name string) (file string, line int) {
	for _, file := range []string{at.Path() + ".dockerignore", filepath.Join(at.Context, ".dockerignore")} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		last := 0
		for i, text := range strings.Split(string(data), "\n") {
			patterns, err := ignorefile.ReadAll(strings.NewReader(text))
			if err != nil || len(patterns) == 0 {
				continue
			}
			except := strings.HasPrefix(patterns[0], "!")
			matcher, err := patternmatcher.New([]string{strings.TrimPrefix(patterns[0], "!")})
			if err != nil {
				continue
			}
			if hit, err := matcher.MatchesOrParentMatches(path.Clean(name)); err == nil && hit {
				if last = i + 1; except {
					last = 0
				}
			}
		}
		if last > 0 {
			return file, last
		}
		return "", 0 // the first that is there counts
	}
	return "", 0
}
