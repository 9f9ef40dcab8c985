// Package rootfs reads the layers of an image into the file system that they
// make up, with what is to be known of each file: programs, scripts, users. It
// judges nothing.
package rootfs

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

// Inode is a file of the merged file system.
type Inode struct {
	Kind     Kind
	Mode     fs.FileMode
	UID, GID int   // the owner
	layer    int16 // that put it there
	touched  int16 // the last that put something below it
	Link     string
	File     *File
	Children map[string]*Inode
}

// FS is the file system that layers make up, the base first.
type FS struct {
	root   *Inode
	layers []digest.Digest
	nodes  int
	bytes  int
}

func New() *FS {
	return &FS{root: &Inode{Kind: KindDir, Mode: 0o755}}
}

// ErrTooManyFiles says that a file system is larger than an honest one.
var ErrTooManyFiles = errors.New("its layers together hold more files than an image does")

// Next begins a further layer.
func (r *FS) Next(d digest.Digest) { r.layers = append(r.layers, d) }

// Whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh."
)

// Apply adds an entry of the current layer.
func (r *FS) Apply(e Entry) error {
	current := int16(len(r.layers) - 1)
	dir, base := path.Split(e.Path)
	switch {
	case base == whiteoutOpaque:
		if at := r.Lookup(dir); at != nil {
			r.cover(at, current)
		}
		return nil
	case strings.Contains("/"+e.Path, "/"+whiteoutMeta):
		return nil // what AUFS keeps for itself
	case strings.HasPrefix(base, whiteout):
		if at := r.Lookup(dir); at != nil {
			name := base[len(whiteout):]
			if child := at.Children[name]; child != nil {
				if child.touched < current {
					delete(at.Children, name)
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
	old := parent.Children[base]
	n := &Inode{Kind: e.Kind, Mode: e.Mode, UID: e.UID, GID: e.GID, layer: current, touched: current, Link: e.Link, File: e.File}
	switch e.Kind {
	case KindDir:
		if old != nil && old.Kind == KindDir {
			old.Mode, old.UID, old.GID, old.touched = e.Mode, e.UID, e.GID, current
			return nil
		}
	case KindHardlink:
		target, _ := r.Resolve(e.Link, false)
		if target == nil || target.Kind == KindDir {
			return nil
		}
		n.Kind, n.Mode, n.Link, n.File = target.Kind, target.Mode, target.Link, target.File
		n.UID, n.GID = target.UID, target.GID
	}
	if old == nil {
		if err := r.count(base); err != nil {
			return err
		}
	}
	set(parent, base, n)
	return nil
}

func (r *FS) count(name string) error {
	r.nodes++
	r.bytes += len(name)
	if r.nodes > maxFiles || r.bytes > maxNameBytes {
		return ErrTooManyFiles
	}
	return nil
}

func set(parent *Inode, name string, n *Inode) {
	if parent.Children == nil {
		parent.Children = map[string]*Inode{}
	}
	parent.Children[name] = n
}

// cover removes what lower layers put below n.
func (r *FS) cover(n *Inode, current int16) {
	for name, child := range n.Children {
		if child.touched < current {
			delete(n.Children, name)
			continue
		}
		r.cover(child, current)
	}
}

// mkdirs returns the directory an entry goes to, as a runtime would make it:
// links in lower layers are followed within the root.
func (r *FS) mkdirs(dir string, current int16) *Inode {
	at := r.root
	at.touched = current
	var trail []*Inode
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
		child := at.Children[name]
		if child != nil && child.Kind == KindSymlink {
			if hops++; hops > maxLinkFollow {
				return nil
			}
			rest = child.Link + "/" + rest
			if strings.HasPrefix(child.Link, "/") {
				at, trail = r.root, nil
			}
			continue
		}
		if child == nil || child.Kind != KindDir {
			if child == nil && r.count(name) != nil {
				return nil
			}
			child = &Inode{Kind: KindDir, Mode: 0o755, layer: current}
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

// Lookup finds a file, following links; nil if it is not there.
func (r *FS) Lookup(name string) *Inode {
	n, _ := r.Resolve(name, true)
	return n
}

// Resolve finds a file and says where it really lies. The last component's
// link is followed only if follow is set.
func (r *FS) Resolve(name string, follow bool) (*Inode, string) {
	type step struct {
		n    *Inode
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
		child := here.Children[first]
		if child == nil {
			return nil, ""
		}
		last := strings.Trim(rest, "/") == ""
		if child.Kind == KindSymlink && (follow || !last) {
			if hops++; hops > maxLinkFollow || len(child.Link) > maxPath {
				return nil, ""
			}
			if strings.HasPrefix(child.Link, "/") {
				trail = trail[:1]
			}
			rest = child.Link + "/" + rest
			if len(rest) > 4*maxPath {
				return nil, ""
			}
			continue
		}
		trail = append(trail, step{child, first})
	}
}

// LayerOf is the layer that a file comes from.
func (r *FS) LayerOf(n *Inode) digest.Digest {
	if int(n.layer) < len(r.layers) {
		return r.layers[n.layer]
	}
	return ""
}

// Each calls f for all files in the order of their paths.
func (r *FS) Each(f func(name string, n *Inode)) {
	var walk func(dir string, n *Inode)
	walk = func(dir string, n *Inode) {
		for _, name := range slices.Sorted(maps.Keys(n.Children)) {
			child := n.Children[name]
			p := dir + "/" + name
			if child.Kind == KindDir {
				walk(p, child)
				continue
			}
			f(p, child)
		}
	}
	walk("", r.root)
}

// IsFile reports whether it is a regular file.
func (n *Inode) IsFile() bool { return n.Kind == KindFile }

// String is for messages.
func (n *Inode) String() string {
	switch n.Kind {
	case KindDir:
		return "a directory"
	case KindSymlink:
		return fmt.Sprintf("a link to %q", n.Link)
	case KindOther:
		return "a device or pipe"
	}
	if n.File != nil && n.File.Format != FormatOther {
		return n.File.String()
	}
	return "a file of no known format"
}

// Root is the top directory.
func (r *FS) Root() *Inode { return r.root }

// Layers are the digests of the layers, the base first.
func (r *FS) Layers() []digest.Digest { return r.layers }
