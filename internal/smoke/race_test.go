//go:build race

package smoke_test

func init() { raced = true }
