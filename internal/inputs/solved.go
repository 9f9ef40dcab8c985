package inputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// solved stands for the result of a definition. Only the files of a single source
// can be read: the Dockerfile and ignore files.
type solved struct {
	frontend *frontend
	def      *pb.Definition
}

// ToState implements gateway.Reference.
func (s *solved) ToState() (llb.State, error) {
	return llb.State{}, errors.New("a result has no state here")
}

// Evaluate implements gateway.Reference.
func (s *solved) Evaluate(context.Context) error { return nil }

// ReadFile implements gateway.Reference.
func (s *solved) ReadFile(ctx context.Context, req gateway.ReadRequest) ([]byte, error) {
	src, err := s.source()
	if err != nil {
		return nil, err
	}
	limit := int64(1) << 40
	if req.Range != nil && req.Range.Length > 0 {
		limit = int64(req.Range.Length)
	}
	scheme, rest, _ := strings.Cut(src.Identifier, "://")
	switch scheme {
	case "local":
		q, err := requestOf(rest, src.Attrs)
		if err != nil {
			return nil, err
		}
		tree, err := s.frontend.reader.tree(s.frontend.build, q, nil)
		if err != nil {
			return nil, err
		}
		return readFile(ctx, tree, req.Filename, limit)
	case "git":
		return s.frontend.reader.git.file(ctx, src, req.Filename, limit)
	}
	return nil, fmt.Errorf("%s of %s is not read from here", req.Filename, src.Identifier)
}

// StatFile implements gateway.Reference; whoever cannot be told reads the file.
func (s *solved) StatFile(context.Context, gateway.StatRequest) (*fstypes.Stat, error) {
	return nil, errors.New("a result has no files to look at here")
}

// ReadDir implements gateway.Reference.
func (s *solved) ReadDir(context.Context, gateway.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, errors.New("a result has no directories here")
}

func (s *solved) source() (*pb.SourceOp, error) {
	var found *pb.SourceOp
	for _, raw := range s.def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			return nil, err
		}
		switch {
		case op.GetSource() != nil && found == nil:
			found = op.GetSource()
		case op.Op != nil:
			return nil, errors.New("the frontend reads files of a build's result")
		}
	}
	if found == nil {
		return nil, errors.New("the frontend reads files of nothing")
	}
	return found, nil
}

// readFile reads a file of a tree, following links within it as a daemon does.
func readFile(ctx context.Context, tree fsutil.FS, name string, limit int64) ([]byte, error) {
	links := map[string]string{}
	there := map[string]bool{}
	err := tree.Walk(ctx, "", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		there[p] = true
		if st, ok := info.Sys().(*fstypes.Stat); ok && info.Mode()&fs.ModeSymlink != 0 {
			links[p] = st.Linkname
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	resolved, err := follow(path.Clean("/"+name), links)
	if err != nil {
		return nil, err
	}
	if !there[resolved] {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	f, err := tree.Open(resolved)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, limit))
}

// maxLinks bounds the links on the way to a file.
const maxLinks = 255

// follow resolves the links in a path within its root; the result has no slash in
// front.
func follow(name string, links map[string]string) (string, error) {
	rest := strings.TrimPrefix(name, "/")
	done := ""
	for range maxLinks {
		if rest == "" {
			return done, nil
		}
		first, more, _ := strings.Cut(rest, "/")
		here := path.Join(done, first)
		to, isLink := links[here]
		switch {
		case !isLink:
			done, rest = here, more
		case strings.HasPrefix(to, "/"):
			done, rest = "", strings.TrimPrefix(path.Join(path.Clean(to), more), "/")
		default:
			rest = strings.TrimPrefix(path.Clean("/"+path.Join(done, to, more)), "/")
			done = ""
		}
	}
	return "", fmt.Errorf("open %s: too many links", name)
}
