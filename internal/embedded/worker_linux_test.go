package embedded

import (
	"os/user"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

func TestSubIDs(t *testing.T) {
	t.Parallel()
	file := "# none of these is a comment, by subuid(5)\nmira:100000:65536\n1001:300000:70000\nodd:x:1\nshort:1\nmira:200000:10\n"
	for _, tt := range []struct {
		user *user.User
		want int
	}{
		{&user.User{Username: "mira", Uid: "1000"}, 65546},
		{&user.User{Username: "ben", Uid: "1001"}, 70000},
		{&user.User{Username: "odd", Uid: "1002"}, 0},
		{&user.User{Username: "none", Uid: "1003"}, 0},
	} {
		if got := subIDs(file, tt.user); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.user.Username, got, tt.want)
		}
	}
	if got := freeSubID(file); got != 370000 {
		t.Errorf("free from %d, want 370000", got)
	}
	if got := freeSubID(""); got != 100000 {
		t.Errorf("free from %d in an empty file, want 100000", got)
	}
}

func TestStartTicks(t *testing.T) {
	t.Parallel()
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for stat, want := range map[string]string{
		"42 (sh)" + rest:         "4711",
		"42 (a b) c) (d)" + rest: "4711",
		"42 (sh) S 1 2":          "",
		"":                       "",
		"42 (sh)" + strings.ReplaceAll(rest, "4711", "x"): "",
	} {
		got, err := startTicks(stat)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", stat, got, err, want)
		}
	}
}

func TestIsSnapshot(t *testing.T) {
	t.Parallel()
	const root = "/home/me/.local/state/archmage/buildkit"
	for _, tt := range []struct {
		mount mountinfo.Info
		want  bool
	}{
		{mountinfo.Info{Root: "/", VFSOptions: "rw,lowerdir=/a,upperdir=" + root + "/runc-overlayfs/snapshots/1/fs,workdir=/w"}, true},
		{mountinfo.Info{Root: root + "/runc-native/snapshots/1"}, true},
		// This machine may itself be a container of somebody else's.
		{mountinfo.Info{Root: "/", VFSOptions: "rw,upperdir=/var/lib/docker/overlay2/x/diff"}, false},
		{mountinfo.Info{Root: "/", VFSOptions: "rw"}, false},
		{mountinfo.Info{Root: root + "-other/x"}, false},
	} {
		if got := isSnapshot(&tt.mount, root); got != tt.want {
			t.Errorf("%+v: %t, want %t", tt.mount, got, tt.want)
		}
	}
}

func TestWorkerHint(t *testing.T) {
	t.Parallel()
	for log, want := range map[string]string{
		"[rootlesskit:parent] error: newuidmap 42 failed: exit status 1":             "uidmap",
		"buildkitd: could not lock /x/buildkitd.lock, another instance running?":     "Another BuildKit",
		"[rootlesskit:child ] error: failed to mount /proc: operation not permitted": "systempaths",
		"all is well": "",
	} {
		got := workerHint(log)
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q in it", log, got, want)
		}
	}
}
