//go:build mage

// Tasks of every shape that mage takes.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/magefile/mage/mg"
)

var Aliases = map[string]any{"r": Release, "np": Img.Publish}

func Up() { fmt.Println("ran up") }

// Release has flags.
func Release(ctx context.Context,
	targets *string, // which
	dryRun *bool,
	jobs *int, keep *time.Duration, share *float64) error { fmt.Println("ran release"); return nil }

func Explain(check string) { fmt.Println("ran explain") }

func Copy(from, to string, force *bool) { fmt.Println("ran copy") }

type Img mg.Namespace

// Publish is in a namespace; <this> [is] no argument -nor=<a flag>.
func (Img) Publish(tag *string) { fmt.Println("ran publish") }
