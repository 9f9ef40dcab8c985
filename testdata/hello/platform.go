package main

import (
	"runtime/debug"
	"strings"
)

// platform names what the program was compiled for as a container platform:
// os/arch, and the variant where the architecture's default is not meant.
func platform(goos, goarch string, settings map[string]string) string {
	name := goos + "/" + goarch
	switch goarch {
	case "arm":
		// GOARM may carry a float mode: "6,softfloat".
		level, _, _ := strings.Cut(settings["GOARM"], ",")
		if level != "" {
			name += "/v" + level
		}
	case "amd64":
		if level := settings["GOAMD64"]; level != "" && level != "v1" {
			name += "/" + level
		}
	}
	return name
}

// buildSettings returns what the go command recorded in the binary.
func buildSettings() map[string]string {
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	return settings
}
