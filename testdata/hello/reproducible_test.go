package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The same sources in another directory must give the same bytes.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the program for four platforms")
	}
	copied := filepath.Join(t.TempDir(), "elsewhere", "hello")
	if err := os.CopyFS(copied, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	for _, env := range [][]string{
		{"GOOS=linux", "GOARCH=amd64"},
		{"GOOS=linux", "GOARCH=arm64"},
		{"GOOS=linux", "GOARCH=arm", "GOARM=7"},
		{"GOOS=linux", "GOARCH=arm", "GOARM=6"},
	} {
		out := t.TempDir()
		compile(t, ".", filepath.Join(out, "here"), env...)
		compile(t, copied, filepath.Join(out, "there"), env...)
		here, err := os.ReadFile(filepath.Join(out, "here"))
		if err != nil {
			t.Fatal(err)
		}
		there, err := os.ReadFile(filepath.Join(out, "there"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(here, there) {
			t.Errorf("%v: the bytes depend on the directory", env)
		}
	}
}
