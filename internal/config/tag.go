package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/archmage-build/archmage/internal/oci"
)

// checkTag refuses what is no reference that a release can point somewhere.
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
