package reach

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// account is who runs a program.
type account struct {
	name     string
	uid, gid int
	groups   []int
}

// Users returns the names in the /etc/passwd of an image, and Groups those in
// its /etc/group. Both are nil where there is no such file.
func Users(fs *rootfs.FS) []string { return names(fs, "/etc/passwd") }

// Groups is described at Users.
func Groups(fs *rootfs.FS) []string { return names(fs, "/etc/group") }

func names(fs *rootfs.FS, file string) []string {
	n := fs.Lookup(file)
	if n == nil || n.File == nil {
		return nil
	}
	out := []string{}
	for line := range strings.Lines(string(n.File.Text)) {
		if name, _, ok := strings.Cut(line, ":"); ok && len(name) <= 64 {
			out = append(out, name)
		}
	}
	return out
}

// accounts reads the users and groups of the image.
func (g *graph) accounts() {
	g.groups = map[string]int{}
	members := map[string][]int{}
	if n := g.fs.Lookup("/etc/group"); n != nil && n.File != nil {
		for line := range strings.Lines(string(n.File.Text)) {
			f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
			if len(f) < 3 {
				continue
			}
			gid, err := strconv.Atoi(f[2])
			if err != nil {
				continue
			}
			g.groups[f[0]] = gid
			if len(f) > 3 {
				for user := range strings.SplitSeq(f[3], ",") {
					members[user] = append(members[user], gid)
				}
			}
		}
	}
	n := g.fs.Lookup("/etc/passwd")
	if n == nil || n.File == nil {
		return
	}
	for line := range strings.Lines(string(n.File.Text)) {
		f := strings.Split(line, ":")
		if len(f) < 4 {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		gid, bad := strconv.Atoi(f[3])
		if err == nil && bad == nil {
			g.users = append(g.users, account{name: f[0], uid: uid, gid: gid, groups: members[f[0]]})
		}
	}
}

// account is who "user", "uid", "user:group" and the like mean; nil if that is
// not known.
func (g *graph) account(spec string) *account {
	user, group, grouped := strings.Cut(spec, ":")
	if user == "" {
		user = "0"
	}
	var out account
	uid, err := strconv.Atoi(user)
	i := slices.IndexFunc(g.users, func(a account) bool { return a.name == user || err == nil && a.uid == uid })
	switch {
	case i >= 0:
		out = g.users[i]
	case err == nil:
		out = account{uid: uid}
	default:
		return nil
	}
	if grouped {
		gid, err := strconv.Atoi(group)
		if err != nil {
			var ok bool
			if gid, ok = g.groups[group]; !ok {
				return nil
			}
		}
		out.gid, out.groups = gid, nil // as runtimes do
	}
	return &out
}

// may reports whether a user has some of the rights r, w and x (4, 2, 1) to a
// file.
func (a *account) may(n *rootfs.Inode, right fs.FileMode) bool {
	switch {
	case a.uid == 0:
		return right&1 == 0 || n.Kind == rootfs.KindDir || n.Mode&0o111 != 0
	case a.uid == n.UID:
		return n.Mode>>6&right == right
	case a.gid == n.GID || slices.Contains(a.groups, n.GID):
		return n.Mode>>3&right == right
	}
	return n.Mode&right == right
}

// obstacle is the file or directory on the way to a program that its user may
// not execute, "" if there is none.
func (g *graph) obstacle(user *account, real string, n *rootfs.Inode) (string, *rootfs.Inode) {
	if user == nil {
		return "", nil
	}
	at, rest := g.fs.Root(), strings.TrimPrefix(real, "/")
	for dir := "/"; ; {
		if !user.may(at, 1) {
			return dir, at
		}
		name, after, more := strings.Cut(rest, "/")
		next := at.Children[name]
		if !more || next == nil {
			break
		}
		dir, at, rest = path.Join(dir, name), next, after
	}
	right := fs.FileMode(1)
	if n.File != nil && n.File.Format == rootfs.FormatScript {
		right = 5 // its interpreter reads it
	}
	if !user.may(n, right) {
		return real, n
	}
	return "", nil
}
