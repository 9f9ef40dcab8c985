//go:build mage

// Another repository's magefile, with archmage's tasks under a name of their own.
package main

import (
	"fmt"

	// mage:import img
	_ "github.com/archmage-build/archmage/tasks"
)

// Release is a task of the repository's own, which the alias keeps apart.
func Release() { fmt.Println("the stranger's own release") }
