package build

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
)

// Place says where a target's Dockerfile and main context lie, as bake reads
// them: https://docs.docker.com/build/bake/reference/#targetdockerfile.
type Place struct {
	// Remote is the context that the daemon fetches by itself, "" for a directory.
	Remote string
	// Context is the directory of a local context, absolute if the base is.
	Context string
	// Inline is the text of a Dockerfile that stands in the configuration.
	Inline string
	// Directory and Name are where the Dockerfile lies. Directory is "" where it
	// is in Inline, or in the remote context.
	Directory, Name string
}

// Locate finds the Dockerfile and the context of a target; relative paths are
// below dir. Nothing is read but whether a directory is there.
func Locate(s *config.Target, dir string) Place {
	var p Place
	if context := value(s.Context); remote(dir, context) {
		p.Remote = context
	} else {
		p.Context = absolute(dir, localPath(context))
	}
	if p.Inline = value(s.DockerfileInline); p.Inline != "" {
		p.Name = "Dockerfile"
		return p
	}
	file, below := strings.CutPrefix(value(s.Dockerfile), "cwd://")
	if file == "" {
		file = "Dockerfile"
	}
	switch {
	case filepath.IsAbs(file):
	case below:
		file = absolute(dir, file)
	case p.Remote != "":
		p.Name = file // within what the daemon fetches
		return p
	default:
		file = absolute(p.Context, file)
	}
	p.Directory, p.Name = filepath.Dir(file), filepath.Base(file)
	return p
}

// Path is the Dockerfile on disk, "" where it is not there to be looked at.
func (p Place) Path() string {
	if p.Directory == "" {
		return ""
	}
	return filepath.Join(p.Directory, p.Name)
}

// Missing reports whether the Dockerfile is not on disk where it should be.
// BuildKit takes Dockerfile in lower case too.
func (p Place) Missing() bool {
	if p.Directory == "" {
		return false
	}
	for _, name := range []string{p.Name, strings.ToLower(p.Name)} {
		if _, err := os.Stat(filepath.Join(p.Directory, name)); err == nil {
			return false
		}
		if p.Name != "Dockerfile" {
			break
		}
	}
	return true
}
