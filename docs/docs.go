// Package docs holds the pages that the program itself shows.
package docs

import _ "embed"

// Audit is docs/audit.md.
//
//go:embed audit.md
var Audit string
