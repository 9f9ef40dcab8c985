package index

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// Verify reads tags back and compares what they name with what they shall. All
// of them are asked for their digest; one a repository and digest is read in
// full, so that a registry is not only taken at its word. The error names each
// tag that is wrong.
func Verify(ctx context.Context, client *registry.Client, moves []journal.Move) error {
	present, err := heads(ctx, client, moves)
	if err != nil {
		return fmt.Errorf("reading the tags back: %w", err)
	}
	var wrong []error
	type place struct {
		repo   string
		digest digest.Digest
	}
	read := map[place]bool{}
	for i, m := range moves {
		found := present[i]
		at := place{m.Tag[:strings.LastIndex(m.Tag, ":")], m.Digest}
		if found == m.Digest && found != "" && !read[at] {
			read[at] = true
			desc, _, err := client.Manifest(ctx, m.Tag)
			if err != nil {
				return fmt.Errorf("reading tag %q back: %w", m.Tag, err)
			}
			found = desc.Digest
		}
		if found != m.Digest {
			wrong = append(wrong, fmt.Errorf("reading tag %q back: it names %s, not %s; another release may have moved it: release again", m.Tag, orNothing(found), orNothing(m.Digest)))
		}
	}
	return errors.Join(wrong...)
}
