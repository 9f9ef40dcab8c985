//go:build !unix

package release

// mayWrite is told only by writing here.
func mayWrite(string) error { return nil }
