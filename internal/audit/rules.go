package audit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
)

// Rules are what the user wants judged otherwise.
type Rules struct {
	// Ignore are the ids of checks that are not wanted.
	Ignore []string
	// Severity overrides that of checks, by id.
	Severity map[string]Severity
	// Allow are patterns of paths, as in a .dockerignore, whose binaries may
	// be for any architecture or operating system.
	Allow []string
}

// harmless are the places where binaries of other architectures lie for good
// reasons, unless the image starts or loads them.
var harmless = []string{
	"**/firmware/**", "usr/share/**", "usr/local/share/**",
	"usr/libexec/qemu-binfmt/**", "usr/lib/binfmt.d/**",
	"**/testdata/**", "**/test/**", "**/tests/**", "**/fixtures/**",
	// Cross toolchains: their sysroots and their own libraries.
	"usr/lib/gcc-cross/**", "usr/lib/gcc/*/**", "opt/cross/**", "**/sysroot/**", "**/sysroots/**",
	"usr/*-w64-mingw32/**", "usr/lib/*-linux-*/wine/**", "usr/lib/wine/**", "opt/wine*/**",
	"**/toolchains/**", "**/ndk/**", "**/arduino/**",
	// Boot loaders and kernels.
	"boot/**", "usr/lib/grub/**", "usr/lib/syslinux/**", "usr/lib/SYSLINUX*/**", "usr/lib/PXELINUX/**", "usr/lib/ISOLINUX/**", "usr/lib/EXTLINUX/**",
	"usr/lib/efi/**", "usr/lib/shim/**", "usr/lib/systemd/boot/**", "usr/lib/u-boot/**", "usr/lib/arm-trusted-firmware/**", "usr/lib/debian-installer/**", "**/ipxe/**", "usr/lib/linux-image-*/**", "usr/lib/modules/**", "lib/modules/**",
	// Windows launchers that Python's packaging tools carry.
	"**/pip/_vendor/distlib/*.exe", "**/distlib/*.exe", "**/setuptools/*.exe", "**/setuptools/**/*.exe",
}

// rules are Rules made ready.
type rules struct {
	Rules
	allow, own *patternmatcher.PatternMatcher // own: the user's alone
}

// Check says what is wrong with the rules: an id or severity that does not
// exist, a malformed pattern.
func (r Rules) Check() error {
	_, err := r.compile()
	return err
}

func (r Rules) compile() (*rules, error) {
	for _, id := range r.Ignore {
		if checkIndex(id) < 0 {
			return nil, fmt.Errorf("ignoring %q: no check has that id; docs/audit.md lists them", id)
		}
	}
	for id, s := range r.Severity {
		if checkIndex(id) < 0 {
			return nil, fmt.Errorf("setting the severity of %q: no check has that id; docs/audit.md lists them", id)
		}
		if !slices.Contains(Severities, s) {
			return nil, fmt.Errorf("setting the severity of %q to %q: it is none of error, warning and note", id, s)
		}
	}
	var own []string
	for _, p := range r.Allow {
		own = append(own, strings.TrimPrefix(p, "/"))
	}
	allow, err := patternmatcher.New(append(slices.Clone(harmless), own...))
	if err == nil {
		_, err = allow.MatchesOrParentMatches("usr/bin/hello") // it reads the patterns only now
	}
	mine, bad := patternmatcher.New(own)
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, fmt.Errorf("reading the allowed paths %q: %w; they are written as in a .dockerignore", r.Allow, err)
	}
	return &rules{Rules: r, allow: allow, own: mine}, nil
}

// apply gives a finding its severity, and says whether it is wanted at all.
func (r *rules) apply(f *Finding) bool {
	if slices.Contains(r.Ignore, f.ID) {
		return false
	}
	if s, ok := r.Severity[f.ID]; ok {
		f.Severity = s
	}
	return true
}

// allowed tells whether a path is one where foreign binaries may lie.
func (r *rules) allowed(p string) bool {
	ok, err := r.allow.MatchesOrParentMatches(strings.TrimPrefix(path.Clean("/"+p), "/"))
	return err == nil && ok
}

// user tells whether the user allows foreign binaries at a path.
func (r *rules) user(p string) bool {
	if len(r.Allow) == 0 {
		return false
	}
	ok, err := r.own.MatchesOrParentMatches(strings.TrimPrefix(path.Clean("/"+p), "/"))
	return err == nil && ok
}
