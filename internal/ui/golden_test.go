package ui

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), go test -update rewrites it:\n%s", file, diff)
	}
}

// places are where the goldens are written to.
var places = map[string]Traits{
	"80-color":  {Terminal: true, Width: 80, Color: true},
	"80-plain":  {Terminal: true, Width: 80},
	"200-color": {Terminal: true, Width: 200, Color: true},
	"200-plain": {Terminal: true, Width: 200},
	"pipe":      {},
}
