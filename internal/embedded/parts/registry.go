//go:build ignore

// Command registry is distribution's registry with the filesystem driver and
// two ways to authenticate, and nothing else. The ignore tag keeps its
// dependencies out of the module that embeds it; it is compiled by file name.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
