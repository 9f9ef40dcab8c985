package inputs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/solver/pb"
)

// gitTimeout bounds what is asked of a git server.
const gitTimeout = 30 * time.Second

// gitRefs answers for git repositories, each asked for once a release.
type gitRefs struct {
	// environ is git's environment, which has its logins.
	environ []string

	mu    sync.Mutex
	known map[string]*gitAnswer
}

type gitAnswer struct {
	once   sync.Once
	commit string
	err    error
}

// fullCommit is a reference that cannot move.
var fullCommit = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

func (g *gitRefs) answer(src *pb.SourceOp) (a *gitAnswer, url, ref, subdir string) {
	url = src.Attrs[pb.AttrFullRemoteURL]
	_, fragment, _ := strings.Cut(src.Identifier, "#")
	ref, subdir, _ = strings.Cut(fragment, ":")
	key := url + " " + ref
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil {
		g.known = map[string]*gitAnswer{}
	}
	if g.known[key] == nil {
		g.known[key] = &gitAnswer{}
	}
	return g.known[key], url, ref, subdir
}

// commit returns the commit that a git source has now.
func (g *gitRefs) commit(ctx context.Context, src *pb.SourceOp) (string, error) {
	a, url, ref, _ := g.answer(src)
	a.once.Do(func() { a.commit, a.err = g.lsRemote(ctx, url, ref) })
	return a.commit, a.err
}

// lsRemote asks a server for the commit of a branch or tag.
func (g *gitRefs) lsRemote(ctx context.Context, url, ref string) (string, error) {
	if fullCommit.MatchString(ref) {
		return ref, nil
	}
	args := []string{"ls-remote", "--", url, "HEAD"}
	if ref != "" {
		args = []string{"ls-remote", "--", url, ref, ref + "^{}"}
	}
	out, err := g.run(ctx, "", args...)
	if err != nil {
		return "", err
	}
	commits := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			commits[fields[1]] = fields[0]
		}
	}
	// The order is BuildKit's (source/git): an annotated tag means its commit.
	for _, name := range []string{ref + "^{}", ref, "refs/heads/" + ref, "refs/tags/" + ref + "^{}", "refs/tags/" + ref, "HEAD"} {
		if c := commits[name]; c != "" && (ref == "" || name != "HEAD") {
			return c, nil
		}
	}
	return "", fmt.Errorf("it has no branch or tag %q", ref)
}

// file reads a file of a git source.
func (g *gitRefs) file(ctx context.Context, src *pb.SourceOp, name string, limit int64) ([]byte, error) {
	commit, err := g.commit(ctx, src)
	if err != nil {
		return nil, err
	}
	_, url, ref, subdir := g.answer(src)
	dir, err := os.MkdirTemp("", "archmage-git-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := g.run(ctx, dir, "init", "-q", "--bare"); err != nil {
		return nil, err
	}
	if _, err := g.run(ctx, dir, "fetch", "-q", "--depth=1", "--", url, commit); err != nil {
		// Some servers give out nothing but branches and tags.
		if ref == "" {
			ref = "HEAD"
		}
		if _, err := g.run(ctx, dir, "fetch", "-q", "--depth=1", "--", url, ref); err != nil {
			return nil, err
		}
	}
	at := strings.TrimPrefix(path.Join("/", subdir, name), "/")
	entry, err := g.run(ctx, dir, "ls-tree", commit, "--", at)
	if err != nil {
		return nil, err
	}
	switch mode, _, _ := strings.Cut(string(entry), " "); {
	case mode == "":
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	case mode == "120000":
		return nil, fmt.Errorf("%s is a link", name)
	}
	out, err := g.run(ctx, dir, "cat-file", "blob", commit+":"+at)
	if int64(len(out)) > limit {
		out = out[:limit]
	}
	return out, err
}

func (g *gitRefs) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	if dir == "" {
		cmd.Dir = os.TempDir() // not within a repository whose settings would count
	}
	cmd.Env = append(slices.Clone(g.environ), "GIT_TERMINAL_PROMPT=0")
	if dir != "" {
		cmd.Env = append(cmd.Env, "GIT_DIR="+dir)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			err = errors.New(text)
		}
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out, nil
}
