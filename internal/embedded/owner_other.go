//go:build !unix

package embedded

import "io/fs"

// owner reports no owner: there are no numeric user ids here.
func owner(fs.FileInfo) (int, bool) { return 0, false }
