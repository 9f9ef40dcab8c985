package rootfs

import (
	"bytes"
	"io"
	"path"
	"slices"
	"strings"
)

// Mention is a path in a text, as the text has it: "/app/server", "./server".
type Mention struct {
	Path string
	Line int // from 1
}

// Bounds of what is remembered of one text.
const (
	maxMentioning = 256 << 10 // bytes that are read
	maxMentions   = 64
)

// mentioning are the suffixes of texts that may say what an image starts:
// scripts in languages that are not followed, and configuration files.
var mentioning = []string{
	".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".php", ".lua", ".tcl",
	".ini", ".conf", ".cfg", ".cnf", ".toml", ".yml", ".yaml", ".json", ".hcl", ".service", ".cron", ".nomad", ".env", ".properties", ".xml",
}

// schedules are files without such a suffix.
var schedules = []string{"Procfile*", "crontab", "inittab", "monitrc", "rc.local", "cron.d/*", "crontabs/*", "periodic/*/*", "cron.*ly/*", "init.d/*", "conf.d/*"}

// libraries are the directories of code that others wrote, of which there is
// much and which names no program of the image's.
var libraries = []string{"node_modules", "site-packages", "dist-packages", "gems", "vendor", "include", "share", "doc", "locale"}

// mentions reports whether the paths in a file of that name matter.
func mentions(name string) bool {
	base := path.Base(name)
	suffix := path.Ext(base)
	if !slices.Contains(mentioning, suffix) && !matchesTail(name, schedules) {
		return false
	}
	dir := path.Dir(name)
	if (strings.HasPrefix(name, "usr/lib/") || strings.HasPrefix(name, "lib/")) && suffix != ".service" {
		return false
	}
	for part := range strings.SplitSeq(dir, "/") {
		if slices.Contains(libraries, part) || strings.HasPrefix(part, "python3") {
			return false
		}
	}
	return true
}

// mention remembers the paths in a text, whose first bytes were read already.
func (f *File) mention(head []byte, r io.Reader, size int64, texts *int) error {
	raw := make([]byte, min(size, maxMentioning))
	n := copy(raw, head)
	if n < len(raw) {
		if _, err := io.ReadFull(r, raw[n:]); err != nil {
			return unexpected(err)
		}
	}
	if bytes.IndexByte(raw[:min(len(raw), 1024)], 0) >= 0 {
		return nil // no text
	}
	if bytes.Contains(raw, []byte("\n[program:")) || bytes.HasPrefix(raw, []byte("[program:")) {
		return f.keep(raw, r, size, texts) // supervisord's, wherever it lies
	}
	f.Mentions = mentionsOf(raw)
	for i, m := range f.Mentions {
		if *texts -= len(m.Path) + 16; *texts < 0 {
			f.Mentions = f.Mentions[:i]
			break
		}
	}
	return nil
}

// mentionsOf finds the distinct paths in a text, but for comments.
func mentionsOf(raw []byte) []Mention {
	var out []Mention
	seen := map[string]bool{}
	for line := 1; len(raw) > 0 && len(out) < maxMentions; line++ {
		text, rest, _ := bytes.Cut(raw, []byte("\n"))
		raw = rest
		if bytes.IndexByte(text, '/') < 0 || isComment(text) {
			continue
		}
		for i := 0; i < len(text) && len(out) < maxMentions; i++ {
			if text[i] != '/' && text[i] != '.' || i > 0 && isPathByte(text[i-1]) {
				continue
			}
			end := i
			for end < len(text) && isPathByte(text[end]) {
				end++
			}
			p := string(text[i:end])
			i = end
			p = strings.TrimRight(p, ".:/")
			if len(p) > maxPath || !strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "./") && !strings.HasPrefix(p, "../") || len(p) < 3 || strings.HasPrefix(p, "//") || seen[p] {
				continue
			}
			seen[p] = true
			out = append(out, Mention{p, line})
		}
	}
	return out
}

func isComment(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	return len(line) > 0 && (line[0] == '#' || line[0] == ';' || bytes.HasPrefix(line, []byte("//")))
}

func isPathByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("/._-+", b) >= 0 || b >= 0x80
}

// matchesTail reports whether the last elements of a path fit one of the
// patterns of path.Match.
func matchesTail(name string, patterns []string) bool {
	elements := strings.Split(name, "/")
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		n := strings.Count(pattern, "/") + 1
		if n > len(elements) {
			return false
		}
		ok, err := path.Match(pattern, strings.Join(elements[len(elements)-n:], "/"))
		return ok && err == nil
	})
}
