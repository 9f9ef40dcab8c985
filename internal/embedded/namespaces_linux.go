package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// minSubIDs is how many user ids an image may use.
const minSubIDs = 65536

// usableNamespaces reports, as an error with all that is missing, that this
// user cannot map user ids into a namespace of their own.
func usableNamespaces() error {
	var errs []error
	if sysctl("kernel/unprivileged_userns_clone") == "0" {
		errs = append(errs, errors.New("ordinary users may not make user namespaces; as root, run: sysctl -w kernel.unprivileged_userns_clone=1"))
	}
	if sysctl("user/max_user_namespaces") == "0" {
		errs = append(errs, errors.New("user namespaces are switched off; as root, run: sysctl -w user.max_user_namespaces=28633"))
	}
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			errs = append(errs, fmt.Errorf("%s is not on PATH, which an ordinary user needs to run BuildKit; as root, install it (Debian, Ubuntu: apt-get install uidmap; Fedora: dnf install shadow-utils; Alpine: apk add shadow-uidmap)", tool))
			break
		}
	}
	me, err := user.Current()
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("finding the name of uid %d: %w; add it to /etc/passwd", os.Getuid(), err))...)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		data, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("reading ids for namespaces: %w", err))
			continue
		}
		if subIDs(string(data), me) >= minSubIDs || directorySubIDs(file, me) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s grants user %q fewer than %d ids; as root, run: echo %s:%d:%d >> %s", file, me.Username, minSubIDs, me.Username, freeSubID(string(data)), minSubIDs, file))
	}
	return errors.Join(errs...)
}

// subIDs returns how many ids the lines of a subuid(5) file grant to the user.
func subIDs(file string, u *user.User) int {
	n := 0
	for line := range strings.Lines(file) {
		who, _, count, ok := subIDLine(line)
		if ok && (who == u.Username || who == u.Uid) {
			n += count
		}
	}
	return n
}

// freeSubID returns an id from which on nobody is granted any.
func freeSubID(file string) int {
	free := 100000 // SUB_UID_MIN of login.defs(5)
	for line := range strings.Lines(file) {
		if _, first, count, ok := subIDLine(line); ok {
			free = max(free, first+count)
		}
	}
	return free
}

// subIDLine reads one "name:first:count" line of subuid(5).
func subIDLine(line string) (who string, first, count int, ok bool) {
	fields := strings.Split(strings.TrimSpace(line), ":")
	if len(fields) != 3 {
		return "", 0, 0, false
	}
	first, err1 := strconv.Atoi(fields[1])
	count, err2 := strconv.Atoi(fields[2])
	return fields[0], first, count, err1 == nil && err2 == nil && first >= 0 && count >= 0
}

// directorySubIDs reports whether ids come from a directory service instead of
// the file (nsswitch.conf, subid).
func directorySubIDs(file string, u *user.User) bool {
	args := []string{u.Username}
	if strings.HasSuffix(file, "gid") {
		args = []string{"-g", u.Username}
	}
	out, err := exec.Command("getsubids", args...).Output()
	return err == nil && len(strings.TrimSpace(string(out))) > 0
}

// sysctl returns the value of a kernel parameter, or "" if there is none.
func sysctl(name string) string {
	data, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
