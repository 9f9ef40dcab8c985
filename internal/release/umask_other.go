//go:build !unix

package release

// privateUmask has nothing to do where there is no umask.
func privateUmask() (restore func()) { return func() {} }
