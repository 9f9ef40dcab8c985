package api

import (
	"io"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/release"
)

// Name is something that can be asked for by its name.
type Name = release.Name

// The kinds of names that Names lists.
const (
	TargetNames   = release.TargetNames
	DeviceNames   = release.DeviceNames
	WorkerNames   = release.WorkerNames
	PlatformNames = release.PlatformNames
	ReleaseNames  = release.ReleaseNames
	CheckNames    = release.CheckNames
)

// Names lists what can be asked for in a project, for completion: nobody is
// asked, and what cannot be read gives none.
func Names(p Project, kind release.Kind) []Name {
	p.Stderr, p.Stdout = io.Discard, io.Discard
	w, err := p.open(p.streams())
	if err != nil {
		return nil
	}
	return w.Names(kind)
}

// Version of archmage: a release's, or "devel".
func Version() string { return release.Version }

// taskNames are the tasks that mage has, in lower case.
var taskNames = []string{
	"annotate", "assemble", "build", "devices", "doctor", "down", "explain", "init", "inspect", "plan", "push", "release", "releases", "report", "reproduce", "rollback", "smoke", "up", "wipe", "workers",
}

// HasFlags reports whether mage reads flags behind a task of ours.
func HasFlags(name string) bool {
	return IsTask(name) && !slices.Contains([]string{"down", "explain", "init", "up"}, strings.ToLower(name))
}

// IsTask reports whether mage has a task of that name from here.
func IsTask(name string) bool { return slices.Contains(taskNames, strings.ToLower(name)) }
