package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// OwnFiles are merged after bake's default files, where they exist.
var OwnFiles = []string{"targets.hcl", "targets.override.hcl"}

// ComposeFiles are those that docker bake reads first.
var ComposeFiles = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}

// BakeFiles are docker bake's own default files, in order, behind the compose files.
var BakeFiles = []string{"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"}

// file is one that was read: HCL, its JSON form, or compose.
type file struct {
	name string
	data []byte
	body hcl.Body // nil for a compose file
}

// defaultNames are the files looked for. A project with a targets.hcl says
// itself what it releases: its compose file is for other things.
func (o Options) defaultNames() []string {
	if _, err := os.Stat(filepath.Join(o.Dir, OwnFiles[0])); err == nil {
		return slices.Concat(BakeFiles, OwnFiles)
	}
	return slices.Concat(ComposeFiles, BakeFiles, OwnFiles)
}

// read parses the files and remembers their sources.
func (c *Config) read(o Options) ([]*file, hcl.Diagnostics) {
	names, given := o.Files, true
	if len(names) == 0 {
		names, given = o.defaultNames(), false
	}
	var files []*file
	var diags hcl.Diagnostics
	for _, name := range names {
		name = strings.TrimPrefix(name, "cwd://")
		data, err := os.ReadFile(c.path(name))
		if errors.Is(err, fs.ErrNotExist) && !given {
			continue
		}
		if err != nil {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Unreadable file",
				Detail:   fmt.Sprintf("Reading %s: %v.", name, unwrapPath(err)),
			})
			continue
		}
		f := &file{name: name, data: data}
		c.Files = append(c.Files, name)
		files = append(files, f)
		if composeName(name) {
			c.Sources[name] = &hcl.File{Bytes: data}
			continue
		}
		parsed, d := parse(data, name)
		if parsed == nil {
			parsed = &hcl.File{Bytes: data}
		}
		c.Sources[name] = parsed
		diags = append(diags, d...)
		f.body = parsed.Body
	}
	if len(c.Files) == 0 && !diags.HasErrors() {
		dir := o.Dir
		if dir == "" {
			dir, _ = os.Getwd()
		}
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "No targets.hcl here",
			Detail: fmt.Sprintf("Looked in %s for %s. Write a targets.hcl there, go to the directory that has one, or name it with ARCHMAGE_FILE.",
				dir, strings.Join(names, ", ")),
		})
	}
	return files, diags
}

// parse reads HCL or its JSON form by the name's ending; where there is none,
// by what it holds.
func parse(data []byte, name string) (*hcl.File, hcl.Diagnostics) {
	parser := hclparse.NewParser()
	switch filepath.Ext(name) {
	case ".json":
		return parser.ParseJSON(data, name)
	case ".hcl":
		return parser.ParseHCL(data, name)
	}
	f, diags := parser.ParseHCL(data, name)
	if diags.HasErrors() {
		if j, d := hclparse.NewParser().ParseJSON(data, name); !d.HasErrors() {
			return j, nil
		}
	}
	return f, diags
}

func composeName(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".yml" || ext == ".yaml"
}

func unwrapPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
