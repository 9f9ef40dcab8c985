// Package docs holds the pages that the program itself shows.
package docs

import _ "embed"

// Audit is docs/audit.md.
//
//go:embed audit.md
var Audit string

// Devices is docs/devices.md.
//
//go:embed devices.md
var Devices string
