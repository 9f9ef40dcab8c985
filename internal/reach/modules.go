package reach

import (
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// host is an interpreter or server that loads modules.
type host struct {
	p    process
	real string
	n    *rootfs.Inode
}

// modules follows the libraries of the native modules that interpreters which
// are started find where they look.
func (g *graph) modules(first process) {
	if len(g.hosts) == 0 {
		return
	}
	g.fs.Each(func(name string, n *rootfs.Inode) {
		if !n.IsFile() || n.File == nil || n.File.ELF == nil || !isModule(name) {
			return
		}
		m, ok := ModuleOf(g.fs, name)
		h, started := g.hosts[m.Runtime]
		e := n.File.ELF
		if !ok || !started || !slices.Contains(whole, m.Runtime) || e.Interp != "" || e.Architecture() != h.n.File.ELF.Architecture() {
			return
		}
		p := h.p
		p.env, p.what, p.sure, p.of = first.env, m.Kind, true, name
		p.at = p.at.then(m.Kind, name)
		g.loadInto(p, h, name, n)
	})
}

// isModule reports whether a file has a name by which interpreters load it;
// other libraries beside it are loaded where those need them. Parts of Python
// itself are optional: tkinter, where there is no Tk.
func isModule(name string) bool {
	base := path.Base(name)
	switch {
	case strings.Contains(name, "/lib-dynload/"), strings.Contains(name, "/test/"), strings.Contains(name, "/tests/"):
		return false
	case strings.HasSuffix(base, ".node"):
		return true
	case strings.Contains(name, "/site-packages/"), strings.Contains(name, "/dist-packages/"):
		// Of Qt's many modules a program imports a few.
		return (strings.Contains(base, ".cpython-") || strings.Contains(base, ".abi3.so")) && !strings.HasPrefix(base, "Qt")
	}
	return strings.HasSuffix(base, ".so")
}

// whole are the runtimes whose modules are there to be loaded; those of others
// come with parts that an image may do without: libawt_xawt of Java, plperl of
// PostgreSQL.
var whole = []string{"node", "python", "php", "ruby", "perl"}

// loadInto follows the libraries of a module, beside those of the program that
// loads it.
func (g *graph) loadInto(p process, h host, real string, n *rootfs.Inode) {
	program := h.n.File.ELF
	if program.Interp == "" {
		return
	}
	l, where := g.fs.Resolve(program.Interp, true)
	if l == nil || !l.IsFile() {
		return // it is said of the program
	}
	s := &search{g: g, p: p, program: program, origin: path.Dir(h.real), musl: isMusl(where, l), loader: library{real: where, at: program.Interp, n: l, trail: p.at}}
	if s.counterpart(real, n) {
		return
	}
	s.run(library{real: h.real, at: h.real, n: h.n, trail: h.p.at})
	s.run(library{real: real, at: real, n: n, trail: p.at})
}

// counterpart reports whether a module is for the other C library, and one for
// this is beside it, as packages for both have it.
func (s *search) counterpart(name string, n *rootfs.Inode) bool {
	if forMusl(n.File.ELF) == s.musl || !forMusl(n.File.ELF) && !forGlibc(n.File.ELF) {
		return false
	}
	fits := func(at *rootfs.Inode) bool {
		e := at.File
		return e != nil && e.ELF != nil && e.ELF.Architecture() == s.program.Architecture() && (s.musl && !forGlibc(e.ELF) || !s.musl && !forMusl(e.ELF))
	}
	dir := path.Dir(name)
	for range 4 { // in this directory, or in one beside it that is named alike
		parent := s.g.fs.Lookup(dir)
		if parent == nil || dir == "/" {
			return false
		}
		left := 500
		var within func(d *rootfs.Inode, depth int) bool
		within = func(d *rootfs.Inode, depth int) bool {
			for _, child := range d.Children {
				if left--; left < 0 {
					return false
				}
				if child.IsFile() && fits(child) || child.Kind == rootfs.KindDir && depth > 0 && within(child, depth-1) {
					return true
				}
			}
			return false
		}
		depth := 0
		base := path.Base(dir)
		if strings.HasPrefix(base, "@") || base == "prebuilds" || base == "native" || base == "bin" {
			depth = 3
		}
		if within(parent, depth) {
			return true
		}
		if base == "node_modules" || base == "site-packages" {
			return false
		}
		dir = path.Dir(dir)
	}
	return false
}

func forMusl(e *rootfs.ELF) bool {
	return slices.ContainsFunc(e.Needed, func(lib string) bool { return strings.HasPrefix(lib, "libc.musl-") })
}

func forGlibc(e *rootfs.ELF) bool {
	return slices.ContainsFunc(e.Wants, func(v rootfs.Version) bool { return strings.HasPrefix(v.Name, "GLIBC_") })
}
