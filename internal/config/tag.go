package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/archmage-build/archmage/internal/oci"
)

// IndexAlways is the value of Target.Index that publishes an index in any case.
const IndexAlways = "always"

// tagPattern is the grammar of the distribution specification:
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func checkTag(tag string) error {
	if strings.HasPrefix(tag, "-") {
		return fmt.Errorf("the tag %q begins with a dash", tag)
	}
	if name, _, ok := strings.Cut(tag, "@"); ok {
		return fmt.Errorf("%q names a digest; a release gives digests, it cannot be told one: write %q", tag, name)
	}
	_, err := oci.ParseReference(tag)
	var e *oci.ReferenceError
	if errors.As(err, &e) {
		return fmt.Errorf("%w; %s", err, e.Hint())
	}
	return nil
}
