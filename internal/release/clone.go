package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// cloneCommit clones the repository around dir to another place and checks out
// a commit there, with what a clone need not keep made different: modes are
// those of a strict umask, and the files are of next year. It returns where dir
// lies within the repository.
func cloneCommit(ctx context.Context, dir, to, commit string) (below string, err error) {
	top, err := gitOutput(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", usage("No git checkout", fmt.Errorf("a release is built again from its commit, and %s is in no git checkout", dir))
	}
	below, err = gitOutput(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return "", err
	}
	if _, err := gitOutput(ctx, dir, "cat-file", "-e", commit+"^{commit}"); err != nil {
		return "", usage("Unknown commit", fmt.Errorf("this checkout does not have the release's commit %s; fetch it", commit))
	}
	// A shared clone has what no branch leads to, too.
	if _, err := gitOutput(ctx, dir, "clone", "--quiet", "--no-checkout", "--shared", top, to); err != nil {
		return "", err
	}
	// Commands may ask where the repository comes from.
	if origin, err := gitOutput(ctx, dir, "remote", "get-url", "origin"); err == nil {
		if _, err := gitOutput(ctx, to, "remote", "set-url", "origin", origin); err != nil {
			return "", err
		}
	}
	if _, err := gitOutput(ctx, to, "checkout", "--quiet", "--detach", commit); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(to, ".gitmodules")); err == nil {
		if _, err := gitOutput(ctx, to, "submodule", "--quiet", "update", "--init", "--recursive"); err != nil {
			return "", err
		}
	}
	return below, unlike(to)
}

// gitOutput runs git and returns its standard output without the last newline.
func gitOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// unlike gives the files of a clone modes and times that another clone has not.
func unlike(dir string) error {
	later := time.Now().AddDate(1, 0, 0)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.Type()&fs.ModeSymlink != 0:
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		return errors.Join(os.Chmod(path, st.Mode()&^0o077), os.Chtimes(path, later, later))
	})
}
