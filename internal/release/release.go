package release

import (
	"context"
)

// Release builds, assembles, annotates, inspects, pushes and tags every
// selected target. No tag moves before all of them are whole.
func (w *Workspace) Release(ctx context.Context, o BuildOptions) error {
	p, err := w.loadPublishable(o.Selection)
	if err != nil {
		return err
	}
	unlock, err := w.lock()
	if err != nil {
		return err
	}
	defer unlock()
	client, err := w.client(p)
	if err != nil {
		return err
	}
	r, err := w.build(ctx, p, client, o.Fresh)
	if err != nil {
		return err
	}
	if err := w.assemble(ctx, p, client, r); err != nil {
		return err
	}
	if err := w.annotate(p, r); err != nil {
		return err
	}
	if err := w.inspectDrafts(ctx, p, client, r); err != nil {
		return err
	}
	if err := w.push(ctx, p, client, r, o.Force); err != nil {
		return err
	}
	return w.showReleased(p, r)
}
