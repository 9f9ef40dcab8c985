package device

import (
	"errors"
	"strings"
)

// lastLine is where a program says what it stumbled over.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return clip(last)
	}
	return "it gave no reason"
}

// pullReason classes what a runtime says when a pull fails.
func pullReason(text string) *Error {
	low := strings.ToLower(text)
	any := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	e := &Error{Kind: PullFailed, Err: errors.New(lastLine(text)), Hint: "pull the same reference on the device by hand and see what it says"}
	switch {
	case any("no space left", "disk quota exceeded"):
		e.Kind, e.Hint = DiskFull, "free space on the device: `mage wipe -device=NAME`, or remove images there"
	case any("manifest unknown", "not found", "name unknown", "404"):
		e.Kind, e.Hint = NotThere, "the registry does not have that digest (any more): build and push it again with `mage build`"
	case any("unauthorized", "authentication required", "no basic auth credentials", "access denied", "denied:", "403 forbidden"):
		e.Kind, e.Hint = NoRegistry, "log in to the registry on the device, or set lend_credentials = true for it"
	case any("http response to https", "certificate", "x509"):
		e.Kind, e.Hint = NoRegistry, "the device's runtime must trust the registry: its certificate, or an entry for an insecure registry"
	case any("connection refused", "no such host", "timeout", "dial tcp", "no route", "network is unreachable", "eof"):
		e.Kind, e.Hint = NoRegistry, "the device must reach the registry by the name in the tag; one on this machine's loopback is brought to it through SSH"
	case any("no matching manifest", "does not match", "no match for platform"):
		e.Kind, e.Hint = WrongPlatform, "give the device its platform in targets.hcl"
	}
	return e
}
