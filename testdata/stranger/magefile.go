//go:build mage

// Another repository's magefile, with archmage's tasks among its own.
package main

import (
	"fmt"

	// mage:import
	_ "github.com/archmage-build/archmage/tasks"
)

// Hello is a task of the repository's own.
func Hello() { fmt.Println("hello from the stranger") }
