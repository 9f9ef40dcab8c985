package device

import (
	"errors"
	"fmt"
	"strings"
)

// explain tells why the client could not connect. OpenSSH says it in text
// only; its messages are not translated.
func (s *sshOutput) explain() *Error {
	text, key := s.text(), s.hostKey()
	shown := ""
	if key != "" {
		shown = " (it showed " + key + ")"
	}
	for _, c := range []struct {
		says, means, hint string
		kind              Kind
	}{
		{"HOST IDENTIFICATION HAS CHANGED", "the host key has changed" + shown, "if the device was installed anew, remove the old key with `ssh-keygen -R HOST`; else somebody stands between you and it", HostKey},
		{"Host key verification failed", "the host key is not known, or not the pinned one" + shown, "log in once with ssh and compare the key, or give the device host_key = \"SHA256:…\" or accept_new = true", HostKey},
		{"No matching host key type", "no common kind of host key", "give the device a current OpenSSH, or allow the old algorithms for it in ~/.ssh/config", HostKey},
		{"Permission denied", "the device let nobody in", "try `ssh -o BatchMode=yes HOST true`: a key that needs no question must be allowed for that user (ssh-copy-id)", Denied},
		{"Too many authentication failures", "too many keys were tried", "name the key for this host in ~/.ssh/config: IdentityFile, IdentitiesOnly yes", Denied},
		{"Could not resolve hostname", "the name is not known", "check the spelling of host, or give it an entry in ~/.ssh/config", Unreachable},
		{"Connection refused", "connection refused", "check that sshd runs on the device, and its port", Unreachable},
		{"No route to host", "no route to the host", "check that the device is on and that its network works", Unreachable},
		{"timed out", "it does not answer in time", "check that the device is on and that its network works", Unreachable},
		{"not available", "the user has no login shell", "give the user a shell on the device: chsh -s /bin/sh USER", NoShell},
	} {
		if strings.Contains(text, c.says) {
			return &Error{Kind: c.kind, Err: fmt.Errorf("%s: %s", c.means, lastLine(text)), Hint: c.hint}
		}
	}
	if key != "" {
		return &Error{Kind: Unreachable, Err: fmt.Errorf("the connection ended before a command ran: %s", lastLine(text)), Hint: "try `ssh -o BatchMode=yes HOST cat` and see what it says"}
	}
	return &Error{Kind: Unreachable, Err: errors.New(lastLine(text)), Hint: "try `ssh -o BatchMode=yes HOST true` and see what it says"}
}

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
