package oci

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// ReferenceError is a text that is no image reference.
type ReferenceError struct {
	// Text as it was given.
	Text string
	// Reason says what is wrong with it.
	Reason string
	// Suggestion is what was probably meant, "" where nothing is near.
	Suggestion string
}

// Error implements error.
func (e *ReferenceError) Error() string {
	return fmt.Sprintf("%q is no image reference: %s", e.Text, e.Reason)
}

// Hint is what to write.
func (e *ReferenceError) Hint() string {
	if e.Suggestion != "" {
		return fmt.Sprintf("write %q", e.Suggestion)
	}
	return "write registry.example/name:tag"
}

// ParseReference reads a reference by Docker's rules: "alpine" is
// docker.io/library/alpine. The error is a *ReferenceError.
func ParseReference(text string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err == nil {
		return named, nil
	}
	reason, suggestion := misspelt(text)
	if _, err := reference.ParseNormalizedNamed(suggestion); err != nil {
		suggestion = ""
	}
	if reason == "" {
		reason = plainReason(err)
	}
	return nil, &ReferenceError{Text: text, Reason: reason, Suggestion: suggestion}
}

func plainReason(err error) string {
	if errors.Is(err, reference.ErrReferenceInvalidFormat) {
		return "its characters or their order are not allowed"
	}
	return err.Error()
}

var (
	scheme  = regexp.MustCompile(`(?i)^[a-z][a-z0-9+.-]*://`)
	slashes = regexp.MustCompile(`/{2,}`)
	// notInTag is what a tag may not hold, notInName what a name may not:
	// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
	notInTag  = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
	notInName = regexp.MustCompile(`[^a-z0-9._/-]+`)
)

// misspelt names the first of the usual mistakes in a reference, "" for none of
// them, and gives the reference without any.
func misspelt(text string) (reason, suggestion string) {
	note := func(format string, args ...any) {
		if reason == "" {
			reason = fmt.Sprintf(format, args...)
		}
	}
	s := text
	if s == "" {
		return "it is empty (is a variable in it empty?)", ""
	}
	if trimmed := strings.TrimSpace(s); trimmed != s {
		note("it begins or ends with a space")
		s = trimmed
	}
	if m := scheme.FindString(s); m != "" {
		note("a reference has no %s before its registry", m)
		s = s[len(m):]
	}
	if strings.HasPrefix(s, "/") {
		note("there is no registry before its first slash (is a variable in it empty?)")
		return reason, "" // which one, nobody knows
	}
	if slashes.MatchString(s) {
		note("nothing stands between two of its slashes (is a variable in it empty, or does one end with a slash?)")
		s = slashes.ReplaceAllString(s, "/")
	}
	host, rest := "", s
	if first, after, ok := strings.Cut(s, "/"); ok && isHost(first) {
		host, rest = first+"/", after
	}
	name, tag, tagged := strings.Cut(rest, ":")
	if at := strings.IndexByte(name, '@'); at >= 0 {
		return reason, "" // a digest cannot be guessed
	}
	if strings.HasSuffix(name, "/") {
		note("its name ends with a slash")
		name = strings.TrimRight(name, "/")
	}
	if lower := strings.ToLower(name); lower != name {
		note("a repository name has no capital letters (in HCL, lower() makes small ones)")
		name = lower
	}
	if bad := notInName.FindString(name); bad != "" {
		note("a repository name may not hold %q", bad)
		name = notInName.ReplaceAllString(name, "-")
	}
	if !tagged {
		return reason, host + name
	}
	switch bad := notInTag.FindString(tag); {
	case tag == "":
		note("nothing stands behind its colon (is a variable in it empty?)")
		return reason, ""
	case bad != "":
		note("a tag may not hold %q", bad)
		tag = notInTag.ReplaceAllString(tag, "-")
	case strings.HasPrefix(tag, ".") || strings.HasPrefix(tag, "-"):
		note("a tag begins with a letter, a digit or an underscore")
	case len(tag) > maxTag:
		note("a tag has at most %d characters, this one %d", maxTag, len(tag))
		return reason, ""
	}
	return reason, host + name + ":" + strings.TrimLeft(tag, ".-")
}

const maxTag = 128

// isHost reports whether what stands before the first slash is a registry: a
// name with a dot, a port or brackets, or localhost. "app:feature" is none.
func isHost(first string) bool {
	if name, port, ok := strings.Cut(first, ":"); ok && !strings.HasPrefix(first, "[") {
		return name != "" && port != "" && strings.Trim(port, "0123456789") == ""
	}
	return strings.Contains(first, ".") || strings.HasPrefix(first, "[") || first == "localhost"
}

// IPv6Registry reports whether a registry's host is a literal IPv6 address. Our
// own client and BuildKit take one; Docker 20.10 and podman 4.3 call a reference
// that begins with one invalid.
func IPv6Registry(host string) bool {
	ip, err := netip.ParseAddr(Hostname(host))
	return err == nil && ip.Is6()
}
