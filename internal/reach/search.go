package reach

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// library is a file that a program has loaded.
type library struct {
	real, at string // at: as it was found
	n        *rootfs.Inode
	trail    *trail
	rpath    []string // of what loaded it
}

// maxLibraries bounds what one program loads.
const maxLibraries = 2000

// load follows the loader and the libraries of a program.
func (g *graph) load(p process, real string, n *rootfs.Inode) {
	e := n.File.ELF
	if e.Interp == "" || e.Architecture() == "" {
		return
	}
	if arch := g.image.Platform.Architecture; e.Architecture() != arch && !(arch == "amd64" && e.Architecture() == "386" && !p.onPath) {
		return
	}
	at := e.Interp
	if !strings.HasPrefix(at, "/") {
		dir, _ := p.dir.one()
		at = path.Join("/", dir, at)
	}
	l, where := g.fs.Resolve(at, true)
	if l == nil || !l.IsFile() {
		g.noLoader(p, real, n)
		return
	}
	p.of = real
	q := p
	q.at = p.at.then("loader " + e.Interp)
	if where != at {
		q.at = q.at.then(where)
	}
	g.add(q, where, l, Loader)
	musl := isMusl(where, l)
	s := &search{g: g, p: p, program: e, origin: path.Dir(real), musl: musl, loader: library{real: where, at: at, n: l, trail: q.at}}
	s.run(library{real: real, at: real, n: n, trail: p.at})
}

// isMusl reports whether a loader is musl's, or gcompat's, which is a program
// that starts that.
func isMusl(real string, n *rootfs.Inode) bool {
	if strings.Contains(path.Base(real), "ld-musl") {
		return true
	}
	if n.File == nil || n.File.ELF == nil {
		return false
	}
	return strings.Contains(n.File.ELF.Interp, "ld-musl") || slices.ContainsFunc(n.File.ELF.Needed, func(lib string) bool { return strings.HasPrefix(lib, "libc.musl-") })
}

// noLoader says why the loader of a program is not there.
func (g *graph) noLoader(p process, real string, n *rootfs.Inode) {
	e := n.File.ELF
	hint := "is the image of another C library, or of none?"
	m := machines[e.Architecture()]
	switch {
	case rootfs.LibC(e.Interp) == "glibc" && g.fs.Lookup("/lib/ld-musl-"+m.musl+".so.1") != nil:
		hint = "it was linked against glibc, and the image has musl"
	case rootfs.LibC(e.Interp) == "musl" && (g.fs.Lookup("/lib64/ld-linux-x86-64.so.2") != nil || g.fs.Lookup("/lib/"+m.triplet+"/libc.so.6") != nil):
		hint = "it was linked against musl, and the image has glibc"
	case g.fs.Lookup("/lib") == nil && g.fs.Lookup("/usr/lib") == nil:
		hint = "the image has no libraries at all, so its programs must be static"
	}
	g.problem(p, Problem{Kind: NoLoader, Path: real, Inode: n, Message: fmt.Sprintf("its loader %s is not in the image, so starting it fails with \"no such file or directory\"; %s", e.Interp, hint)})
}

// search is the work of a loader for one program.
type search struct {
	g       *graph
	p       process
	program *rootfs.ELF
	origin  string
	musl    bool
	loader  library
	loaded  map[string]library
}

// run loads all that a program needs, breadth first, as loaders do.
func (s *search) run(program library) {
	if s.loaded == nil {
		s.loaded = map[string]library{path.Base(s.loader.real): s.loader, path.Base(s.loader.at): s.loader}
	}
	queue := []library{program}
	for len(queue) > 0 && len(s.loaded) < maxLibraries {
		l := queue[0]
		queue = queue[1:]
		e := l.n.File.ELF
		for _, need := range e.Needed {
			if s.itself(need) {
				continue
			}
			if _, ok := s.loaded[need]; ok {
				continue
			}
			at := s.find(l, need)
			if at == "" {
				s.missing(l, need)
				s.loaded[need] = library{}
				continue
			}
			n, real := s.g.fs.Resolve(at, true)
			next := library{real: real, at: at, n: n, trail: l.trail.then("DT_NEEDED " + need)}
			if path.Base(at) != path.Base(real) { // else it is but a directory that is a link
				next.trail = next.trail.then(at)
			}
			next.trail = next.trail.then(real)
			if e.RunPath == "" && e.RPath != "" {
				next.rpath = append(slices.Clone(l.rpath), s.expand(e.RPath, l)...)
			} else {
				next.rpath = l.rpath
			}
			s.loaded[need] = next
			if name := n.File.ELF.SoName; name != "" {
				s.loaded[name] = next
			}
			q := s.p
			q.at = next.trail
			s.g.add(q, real, n, Library)
			queue = append(queue, next)
		}
		s.versions(l)
	}
}

// itself reports whether musl's loader takes a library for itself.
// https://git.musl-libc.org/cgit/musl/tree/ldso/dynlink.c
func (s *search) itself(lib string) bool {
	if !s.musl {
		return false
	}
	if strings.HasPrefix(lib, "libc.musl-") || lib == "libc.so" {
		return true
	}
	for _, name := range []string{"c", "pthread", "rt", "m", "dl", "util", "xnet"} {
		if strings.HasPrefix(lib, "lib"+name+".so") {
			return true
		}
	}
	// What gcompat has in itself.
	return s.program.Interp != "" && !strings.Contains(s.program.Interp, "ld-musl") && (strings.HasPrefix(lib, "ld-linux") || strings.HasPrefix(lib, "libresolv.so"))
}

// expand reads a list of directories with $ORIGIN and the like.
func (s *search) expand(list string, l library) []string {
	var out []string
	uname := machines[s.program.Architecture()].uname
	for dir := range strings.SplitSeq(list, ":") {
		if dir == "" || len(out) > 100 {
			continue
		}
		origins := []string{path.Dir(l.at)}
		if real := path.Dir(l.real); real != origins[0] {
			origins = append(origins, real)
		}
		for _, origin := range origins {
			for _, lib := range s.libs(dir) {
				r := strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin, "$LIB", lib, "${LIB}", lib, "$PLATFORM", uname, "${PLATFORM}", uname)
				expanded := r.Replace(dir)
				if !strings.HasPrefix(expanded, "/") {
					cwd, _ := s.p.dir.one()
					expanded = path.Join("/", cwd, expanded)
				}
				out = append(out, path.Clean(expanded))
			}
			if !strings.Contains(dir, "$") {
				break
			}
		}
	}
	return out
}

// libs are what $LIB stands for: that is compiled into each distribution's
// loader. https://man7.org/linux/man-pages/man8/ld.so.8.html
func (s *search) libs(dir string) []string {
	if !strings.Contains(dir, "$LIB") && !strings.Contains(dir, "${LIB}") {
		return []string{""}
	}
	return []string{"lib/" + machines[s.program.Architecture()].triplet, "lib64", "lib"}
}

// find is where the loader finds a library that l needs, "" if nowhere.
func (s *search) find(l library, need string) string {
	if strings.Contains(need, "/") {
		for _, at := range s.expand(need, l) {
			if s.fits(at) {
				return at
			}
		}
		return ""
	}
	e := l.n.File.ELF
	var dirs []string
	if s.musl || e.RunPath == "" {
		dirs = append(dirs, s.expand(e.RPath, l)...)
		dirs = append(dirs, l.rpath...)
	}
	dirs = append(dirs, s.environment()...)
	dirs = append(dirs, s.expand(e.RunPath, l)...)
	for _, dir := range dirs {
		if at := path.Join(dir, need); s.fits(at) {
			return at
		}
	}
	key := need + "\x00" + s.program.Architecture() + "\x00" + s.program.Interp
	at, ok := s.g.found[key]
	if !ok {
		at = s.system(need)
		s.g.found[key] = at
	}
	return at
}

// environment is LD_LIBRARY_PATH.
func (s *search) environment() []string {
	var dirs []string
	for _, list := range s.p.env["LD_LIBRARY_PATH"].alts {
		for dir := range strings.SplitSeq(list, ":") {
			if dir != "" && len(dirs) < 100 {
				cwd, _ := s.p.dir.one()
				if !strings.HasPrefix(dir, "/") {
					dir = path.Join("/", cwd, dir)
				}
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// system looks where all programs of a loader look.
func (s *search) system(need string) string {
	var dirs []string
	if s.musl {
		dirs = s.g.muslDirs(s.program.Architecture())
	} else {
		for _, at := range s.g.cached[need] {
			if s.fits(at) {
				return at
			}
		}
		dirs = append(slices.Clone(s.g.configured), defaultDirs(s.program)...)
	}
	for _, dir := range dirs {
		if at := path.Join(dir, need); s.fits(at) {
			return at
		}
	}
	return ""
}

// muslDirs are the directories that musl searches.
func (g *graph) muslDirs(arch string) []string {
	if dirs, ok := g.muslPaths[arch]; ok {
		return dirs
	}
	dirs := []string{"/lib", "/usr/local/lib", "/usr/lib"}
	for _, file := range Glob(g.fs, "/etc/ld-musl-*.path", 8) {
		if n := g.fs.Lookup(file); n != nil && n.File != nil && strings.Contains(file, machines[arch].musl) {
			dirs = strings.FieldsFunc(string(n.File.Text), func(r rune) bool { return r == '\n' || r == ':' })
		}
	}
	g.muslPaths[arch] = dirs
	return dirs
}

// fits reports whether a file is a library that the program can load. One of
// another machine or class is passed over, as the loaders do.
func (s *search) fits(at string) bool {
	n := s.g.fs.Lookup(at)
	return n != nil && n.IsFile() && n.File != nil && n.File.ELF != nil && n.File.ELF.Architecture() == s.program.Architecture()
}

// missing says why a library was not found.
func (s *search) missing(l library, need string) {
	if s.g.everywhere == nil {
		s.g.everywhere = map[string][]string{}
		s.g.fs.Each(func(name string, n *rootfs.Inode) {
			base := path.Base(name)
			if strings.Contains(base, ".so") && len(s.g.everywhere[base]) < 20 {
				s.g.everywhere[base] = append(s.g.everywhere[base], name)
			}
		})
	}
	p := s.p
	p.at = l.trail.then("DT_NEEDED " + need)
	p.sure = p.sure && !p.env["LD_LIBRARY_PATH"].open
	problem := Problem{Kind: NoLibrary, Path: l.real, Inode: l.n, Library: need, Message: fmt.Sprintf("it needs %s, which is nowhere in the image", need)}
	for _, at := range s.g.everywhere[path.Base(need)] {
		n := s.g.fs.Lookup(at)
		switch {
		case n == nil:
			link, _ := s.g.fs.Resolve(at, false)
			if link != nil {
				problem.Message = fmt.Sprintf("it needs %s, and %s is %s, which is not there", need, at, link.String())
			}
		case s.fits(at):
			problem.Kind = Misplaced
			problem.Message = fmt.Sprintf("it needs %s, which lies at %s, where its loader does not look", need, at)
			problem.Evidence = append(problem.Evidence, at+": "+n.String())
		case n.File != nil && n.File.ELF != nil:
			if problem.Kind != Misplaced {
				problem.Message = fmt.Sprintf("it needs %s, and the file of that name is for %s: %s", need, n.File.ELF.MachineName(), at)
			}
			problem.Evidence = append(problem.Evidence, at+": "+n.String())
		default:
			problem.Evidence = append(problem.Evidence, at+" is no library")
		}
	}
	s.g.problem(p, problem)
}

// versions compares the versions that a file needs with those that its
// libraries define. A library without any is taken as it is, and musl knows
// none. https://www.akkadia.org/drepper/symbol-versioning
func (s *search) versions(l library) {
	if s.musl {
		return
	}
	newest := map[string][]string{}
	for _, want := range l.n.File.ELF.Wants {
		lib, ok := s.loaded[want.Library]
		if !ok || lib.n == nil || want.Weak || lib.n.File == nil || lib.n.File.ELF == nil || len(lib.n.File.ELF.Defines) == 0 {
			continue
		}
		if slices.Contains(lib.n.File.ELF.Defines, want.Name) {
			continue
		}
		text := want.Name
		if want.Symbol != "" {
			text += " (for " + want.Symbol + ")"
		}
		newest[want.Library] = append(newest[want.Library], text)
	}
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		wants, lib := newest[name], s.loaded[name]
		p := s.p
		p.at = l.trail.then("DT_NEEDED "+name, lib.real)
		s.g.problem(p, Problem{
			Kind: NoVersion, Path: l.real, Inode: l.n, Library: name,
			Message:  fmt.Sprintf("it needs %s of %s, and the image's %s has at most %s", strings.Join(wants[:min(3, len(wants))], ", "), name, lib.real, latest(lib.n.File.ELF.Defines, wants[0])),
			Evidence: []string{"versions that are missing: " + strings.Join(wants[:min(10, len(wants))], ", "), lib.real + ": " + lib.n.String()},
		})
	}
}

// latest is the greatest of the versions that begin like another.
func latest(defined []string, like string) string {
	prefix, _, _ := strings.Cut(like, "_")
	best := ""
	for _, v := range defined {
		if rest, ok := strings.CutPrefix(v, prefix+"_"); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' && (best == "" || older(best, rest)) {
			best = rest
		}
	}
	if best == "" {
		return "none of that name"
	}
	return prefix + "_" + best
}

// older reports whether version a comes before b, number by number.
func older(a, b string) bool {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if len(x) != len(y) {
			return len(x) < len(y)
		}
		if x != y {
			return x < y
		}
	}
	return false
}

// isLoader reports whether a program is a dynamic loader, which starts the
// program that it is told.
func isLoader(base string) bool {
	return strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld-musl") || strings.HasPrefix(base, "ld64.so")
}
