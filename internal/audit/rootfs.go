package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Bounds of the merged file system of one image.
const (
	maxFiles      = 500_000
	maxNameBytes  = 48 << 20
	maxLinkFollow = 40 // as Linux
)

// inode is a file of the merged file system.
type inode struct {
	kind     entryKind
	mode     fs.FileMode
	layer    int16 // that put it there
	touched  int16 // the last that put something below it
	link     string
	file     *File
	children map[string]*inode
}

// rootfs is the file system that layers make up, the base first.
type rootfs struct {
	root   *inode
	layers []digest.Digest
	nodes  int
	bytes  int
}

func newRootfs() *rootfs {
	return &rootfs{root: &inode{kind: kindDir, mode: 0o755}}
}

// errTooManyFiles says that a file system is larger than an honest one.
var errTooManyFiles = errors.New("its layers together hold more files than an image does")

// next begins a further layer.
func (r *rootfs) next(d digest.Digest) { r.layers = append(r.layers, d) }

// Whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh."
)

// apply adds an entry of the current layer.
func (r *rootfs) apply(e entry) error {
	current := int16(len(r.layers) - 1)
	dir, base := path.Split(e.Path)
	switch {
	case base == whiteoutOpaque:
		if at := r.lookup(dir); at != nil {
			r.cover(at, current)
		}
		return nil
	case strings.Contains("/"+e.Path, "/"+whiteoutMeta):
		return nil // what AUFS keeps for itself
	case strings.HasPrefix(base, whiteout):
		if at := r.lookup(dir); at != nil {
			name := base[len(whiteout):]
			if child := at.children[name]; child != nil {
				if child.touched < current {
					delete(at.children, name)
				} else {
					r.cover(child, current)
				}
			}
		}
		return nil
	}
	parent := r.mkdirs(dir, current)
	if parent == nil {
		return nil // through links in a circle: no runtime can unpack it either
	}
	old := parent.children[base]
	n := &inode{kind: e.Kind, mode: e.Mode, layer: current, touched: current, link: e.Link, file: e.File}
	switch e.Kind {
	case kindDir:
		if old != nil && old.kind == kindDir {
			old.mode, old.touched = e.Mode, current
			return nil
		}
	case kindHardlink:
		target, _ := r.walkTo(e.Link, false)
		if target == nil || target.kind == kindDir {
			return nil
		}
		n.kind, n.mode, n.link, n.file = target.kind, target.mode, target.link, target.file
	}
	if old == nil {
		if err := r.count(base); err != nil {
			return err
		}
	}
	set(parent, base, n)
	return nil
}

func (r *rootfs) count(name string) error {
	r.nodes++
	r.bytes += len(name)
	if r.nodes > maxFiles || r.bytes > maxNameBytes {
		return errTooManyFiles
	}
	return nil
}

func set(parent *inode, name string, n *inode) {
	if parent.children == nil {
		parent.children = map[string]*inode{}
	}
	parent.children[name] = n
}

// cover removes what lower layers put below n.
func (r *rootfs) cover(n *inode, current int16) {
	for name, child := range n.children {
		if child.touched < current {
			delete(n.children, name)
			continue
		}
		r.cover(child, current)
	}
}

// mkdirs returns the directory an entry goes to, as a runtime would make it:
// links in lower layers are followed within the root.
func (r *rootfs) mkdirs(dir string, current int16) *inode {
	at := r.root
	at.touched = current
	var trail []*inode
	rest := dir
	for hops := 0; ; {
		var name string
		name, rest = cut(rest)
		if name == "" {
			return at
		}
		if name == ".." {
			if len(trail) > 0 {
				at, trail = trail[len(trail)-1], trail[:len(trail)-1]
			}
			continue
		}
		child := at.children[name]
		if child != nil && child.kind == kindSymlink {
			if hops++; hops > maxLinkFollow {
				return nil
			}
			rest = child.link + "/" + rest
			if strings.HasPrefix(child.link, "/") {
				at, trail = r.root, nil
			}
			continue
		}
		if child == nil || child.kind != kindDir {
			if child == nil && r.count(name) != nil {
				return nil
			}
			child = &inode{kind: kindDir, mode: 0o755, layer: current}
			set(at, name, child)
		}
		child.touched = current
		if trail = append(trail, at); len(trail) > maxPath/2 {
			return nil
		}
		at = child
	}
}

// cut takes the first component off a path.
func cut(p string) (first, rest string) {
	for {
		p = strings.TrimLeft(p, "/")
		first, rest, _ = strings.Cut(p, "/")
		if first != "." {
			return first, rest
		}
		p = rest
	}
}

// lookup finds a file, following links; nil if it is not there.
func (r *rootfs) lookup(name string) *inode {
	n, _ := r.walkTo(name, true)
	return n
}

// walkTo finds a file and says where it really lies. The last component's
// link is followed only if follow is set.
func (r *rootfs) walkTo(name string, follow bool) (*inode, string) {
	type step struct {
		n    *inode
		name string
	}
	trail := []step{{r.root, ""}}
	rest := name
	for hops := 0; ; {
		var first string
		first, rest = cut(rest)
		here := trail[len(trail)-1].n
		switch first {
		case "":
			names := make([]string, 0, len(trail))
			for _, s := range trail[1:] {
				names = append(names, s.name)
			}
			return here, "/" + strings.Join(names, "/")
		case "..":
			if len(trail) > 1 {
				trail = trail[:len(trail)-1]
			}
			continue
		}
		child := here.children[first]
		if child == nil {
			return nil, ""
		}
		last := strings.Trim(rest, "/") == ""
		if child.kind == kindSymlink && (follow || !last) {
			if hops++; hops > maxLinkFollow || len(child.link) > maxPath {
				return nil, ""
			}
			if strings.HasPrefix(child.link, "/") {
				trail = trail[:1]
			}
			rest = child.link + "/" + rest
			if len(rest) > 4*maxPath {
				return nil, ""
			}
			continue
		}
		trail = append(trail, step{child, first})
	}
}

// layerOf is the layer that a file comes from.
func (r *rootfs) layerOf(n *inode) digest.Digest {
	if int(n.layer) < len(r.layers) {
		return r.layers[n.layer]
	}
	return ""
}

// each calls f for all files in the order of their paths.
func (r *rootfs) each(f func(name string, n *inode)) {
	var walk func(dir string, n *inode)
	walk = func(dir string, n *inode) {
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			child := n.children[name]
			p := dir + "/" + name
			if child.kind == kindDir {
				walk(p, child)
				continue
			}
			f(p, child)
		}
	}
	walk("", r.root)
}

// names are the base names of all files.
func (r *rootfs) names() map[string]bool {
	all := map[string]bool{}
	r.each(func(name string, _ *inode) { all[path.Base(name)] = true })
	return all
}

func (n *inode) isFile() bool { return n.kind == kindFile }

// String is for messages.
func (n *inode) String() string {
	switch n.kind {
	case kindDir:
		return "a directory"
	case kindSymlink:
		return fmt.Sprintf("a link to %q", n.link)
	case kindOther:
		return "a device or pipe"
	}
	if n.file != nil && n.file.Format != FormatOther {
		return n.file.String()
	}
	return "a file of no known format"
}
