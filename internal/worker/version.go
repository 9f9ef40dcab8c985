package worker

import (
	"fmt"
	"strings"

	"golang.org/x/mod/semver"
)

// oldest is the BuildKit that a release needs: attestations came with v0.11,
// the rewriting of timestamps with v0.13, which until v0.13.2 changed the layers
// of base images too (https://github.com/moby/buildkit/issues/4746). What a daemon
// does not know it passes over in silence.
const oldest = "v0.13.2"

// versionError says that a daemon is too old.
type versionError struct{ version string }

func (e *versionError) Error() string {
	return fmt.Sprintf("its BuildKit (%s) is too old; %s or newer is needed", e.version, oldest)
}

// checkVersion refuses a daemon that is too old. One without a version is
// believed.
func checkVersion(version string) error {
	version = "v" + strings.TrimPrefix(version, "v") // distributions leave it out
	if semver.IsValid(version) && semver.Compare(version, "v0.1.0") > 0 && semver.Compare(version, oldest) < 0 {
		return &versionError{version}
	}
	return nil
}
