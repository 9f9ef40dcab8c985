package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/archmage-build/archmage/internal/plan"
)

// Deliver puts what a target's builds wrote where its outputs say, once all of
// them are there. Each file appears whole or not at all. Built reports whether a
// build was made; optional ones may not.
func Deliver(t *plan.Target, built func(*plan.Build) bool, o Options) error {
	for i, output := range t.Outputs {
		d := delivery{target: t, output: output, options: o, dir: stagedOutput(o, t, i)}
		for _, b := range t.Builds {
			if built(b) {
				d.builds = append(d.builds, b)
				d.received = append(d.received, staged(o, b, i))
			}
		}
		if len(d.builds) == 0 {
			continue
		}
		if err := d.run(); err != nil {
			return fmt.Errorf("writing %s of target %q: %w", output.Dest, t.Name, err)
		}
	}
	return nil
}

// delivery is one output on its way.
type delivery struct {
	target  *plan.Target
	output  plan.Output
	options Options
	dir     string
	builds  []*plan.Build
	// received are the directories or files that came from the workers.
	received []string
}

func (d *delivery) run() error {
	dest := absolute(d.options.Dir, d.output.Dest)
	whole := filepath.Join(d.dir, "whole")
	if err := os.RemoveAll(whole); err != nil {
		return err
	}
	var err error
	switch {
	case d.output.Type == "local":
		err = d.mergeDirectories(whole)
	case d.output.Dir:
		err = d.layout(whole)
	case len(d.target.Builds) == 1:
		whole = d.received[0]
	case d.output.Type == "tar":
		err = d.mergeTars(whole)
	default:
		err = d.archive(whole)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	if !d.output.Dir {
		return putFile(whole, dest)
	}
	written := map[string]bool{}
	if err := walk(whole, func(rel string, _ fs.DirEntry) error { written[rel] = true; return nil }); err != nil {
		return err
	}
	if err := putTree(whole, dest); err != nil || !d.output.Delete {
		return err
	}
	return removeOthers(written, dest)
}

// mergeDirectories moves what each platform gave into one tree. Two platforms may
// not give one file: with platform-split=false they share the directory.
func (d *delivery) mergeDirectories(whole string) error {
	owner := map[string]string{}
	for i, from := range d.received {
		name := d.builds[i].PlatformName()
		err := walk(from, func(rel string, e fs.DirEntry) error {
			if e.IsDir() {
				return nil
			}
			if other, ok := owner[rel]; ok {
				return fmt.Errorf("%s and %s both give the file %s: let each platform have its own directory (platform-split=true), or name the files apart", other, name, rel)
			}
			owner[rel] = name
			return nil
		})
		if err == nil {
			err = putTree(from, whole)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk visits what lies below dir, directories before what they hold.
func walk(dir string, visit func(rel string, e fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil // a build that gave nothing
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		return visit(rel, e)
	})
}

// putTree lays a tree over a directory. What else is in it stays.
func putTree(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil { // BuildKit's client makes it so
		return err
	}
	type dir struct {
		path string
		info fs.FileInfo
	}
	var dirs []dir
	err := walk(from, func(rel string, e fs.DirEntry) error {
		target := filepath.Join(to, rel)
		if !e.IsDir() {
			return putFile(filepath.Join(from, rel), target)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		had, err := os.Lstat(target)
		if err == nil && !had.IsDir() {
			err = os.Remove(target)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(target, 0o700); err != nil {
			return err
		}
		dirs = append(dirs, dir{target, info})
		return nil
	})
	for i := len(dirs) - 1; err == nil && i >= 0; i-- {
		if err = os.Chmod(dirs[i].path, dirs[i].info.Mode().Perm()); err == nil {
			err = os.Chtimes(dirs[i].path, dirs[i].info.ModTime(), dirs[i].info.ModTime())
		}
	}
	return err
}

// putFile moves a file or symbolic link to where it shall be; what is there is
// replaced in one step.
func putFile(from, to string) error {
	if had, err := os.Lstat(to); err == nil && had.IsDir() {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(to), ".archmage-"+filepath.Base(to))
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		link, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(link, temporary)
		}
		if err != nil {
			return err
		}
		return os.Rename(temporary, to)
	}
	if err := copyFile(from, temporary, info); err != nil {
		return errors.Join(err, os.RemoveAll(temporary))
	}
	return os.Rename(temporary, to)
}

func copyFile(from, to string, info fs.FileInfo) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Chmod(to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// removeOthers removes what lies in dir and was not written.
func removeOthers(written map[string]bool, dir string) error {
	var others []string
	err := walk(dir, func(rel string, e fs.DirEntry) error {
		if written[rel] {
			return nil
		}
		others = append(others, filepath.Join(dir, rel))
		if e.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	for _, path := range others {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// platformDirectory is the name that BuildKit gives a platform's directory.
func platformDirectory(b *plan.Build) string { return strings.ReplaceAll(b.PlatformName(), "/", "_") }
