package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sys/unix"
)

// sweep ends the containers and removes the mounts that a worker which was
// killed has left. While the worker runs it does nothing. The caller holds the
// worker's lock.
func (m *Machine) sweep(ctx context.Context) error {
	if _, alive := m.load(workerName); alive {
		return nil
	}
	root, tmp := m.workerRoot(), m.workerTemp()
	strays, err := containers(root)
	if err != nil {
		return err
	}
	for _, id := range strays {
		_ = id.signal(os.Kill) // its state is looked at next
	}
	if left := gone(ctx, 5*time.Second, strays...); len(left) > 0 {
		return fmt.Errorf("ending containers that the worker left: process %d still runs; end it with: kill -9 %d", left[0].PID, left[0].PID)
	}
	if os.Getuid() != 0 {
		return nil // mounts went with the namespace they were in
	}

	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		// Only what lies within: a disk that the user mounted there stays.
		at := info.Mountpoint
		return at == root || at == tmp || !below(root, at) && !below(tmp, at), false
	})
	if err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	// The innermost and latest first.
	slices.Reverse(mounts)
	var errs []error
	for _, mount := range mounts {
		if err := unix.Unmount(mount.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmounting %q: %w; as root, run: umount -l %q", mount.Mountpoint, err, mount.Mountpoint))
		}
	}
	return errors.Join(errs...)
}

// containers returns the processes whose root filesystem is a snapshot below
// the directory root.
func containers(root string) ([]identity, error) {
	all, err := process.Processes()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var found []identity
	for _, p := range all {
		f, err := os.Open("/proc/" + strconv.Itoa(int(p.Pid)) + "/mountinfo")
		if err != nil {
			continue // it has ended
		}
		roots, err := mountinfo.GetMountsFromReader(f, mountinfo.SingleEntryFilter("/"))
		_ = f.Close()
		if err != nil || len(roots) != 1 || !isSnapshot(roots[0], root) {
			continue
		}
		if id, err := identify(int(p.Pid)); err == nil {
			found = append(found, id)
		}
	}
	return found, nil
}

// isSnapshot reports whether mount is an overlay whose upper directory, or a
// bind mount whose source, is below root.
func isSnapshot(mount *mountinfo.Info, root string) bool {
	for option := range strings.SplitSeq(mount.VFSOptions, ",") {
		if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
			return below(root, upper)
		}
	}
	return below(root, mount.Root)
}

// below reports whether path is dir or within it.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
