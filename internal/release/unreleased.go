package release

import (
	"fmt"

	"github.com/archmage-build/archmage/internal/registry"
)

// UnreleasedError reports that a tag of the configuration was never published.
type UnreleasedError struct {
	Tag string
	err error
}

func (e *UnreleasedError) Error() string {
	return fmt.Sprintf("nothing is released as %s yet: the registry does not have it", e.Tag)
}

func (e *UnreleasedError) Unwrap() error { return e.err }

// Remedy is what to do next.
func (e *UnreleasedError) Remedy() string {
	return "`mage release` publishes it; if it was there before, check the repository and the tag"
}

// unreleased says of a tag of the configuration that is not there what that means.
func unreleased(tag string, err error) error {
	if registry.IsNotFound(err) {
		return &UnreleasedError{Tag: tag, err: err}
	}
	return err
}
