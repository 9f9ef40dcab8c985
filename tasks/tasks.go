// Package tasks holds the Mage tasks of archmage. Another repository imports
// them with a `mage:import` comment in its magefile; every task takes optional
// flags only, and values such as a version come from the environment. A magefile
// that runs tasks itself uses package api below this one.
package tasks

import (
	"path/filepath"
	"strings"

	"github.com/archmage-build/archmage/tasks/api"
)

// checked runs a task if mage knows all words of the command line: mage itself
// would look at the next one when this task is done.
func checked(task func() error) error {
	if err := words(); err != nil {
		return err
	}
	return task()
}

// list takes "a,b" apart; nil and empty mean none.
func list(flag *string) []string { return split(flag, ",") }

// commas is list where a flag has that name.
func commas(flag *string) []string { return list(flag) }

// semicolons takes "a;b" apart.
func semicolons(flag *string) []string { return split(flag, ";") }

func split(flag *string, by string) []string {
	var out []string
	for _, s := range strings.Split(text(flag), by) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// project has the flags -file and -set.
func project(file, set *string) api.Project {
	return api.Project{Files: filepath.SplitList(text(file)), Set: semicolons(set)}
}

func text(flag *string) string {
	if flag == nil {
		return ""
	}
	return *flag
}

func on(flag *bool) bool { return flag != nil && *flag }
