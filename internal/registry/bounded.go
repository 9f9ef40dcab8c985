package registry

import (
	"fmt"
	"io"
)

// ManifestLimit is the largest manifest or index that is read, in bytes. The
// distribution spec asks registries to take 4 MiB; an index of 10,000
// children has about 3.
const ManifestLimit = 8 << 20

// bounded is a body that fails when it is longer than a manifest may be.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the manifest is larger than %d bytes", int64(ManifestLimit))
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("the manifest is larger than %d bytes", int64(ManifestLimit))
	}
	return n, err
}
