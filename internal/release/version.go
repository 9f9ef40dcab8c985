package release

import "runtime/debug"

// Version of archmage, as Go's build information has it: a release's version,
// or "devel".
var Version = func() string {
	const module = "github.com/archmage-build/archmage"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, d := range info.Deps {
		if d.Path == module && d.Version != "" {
			return d.Version
		}
	}
	if info.Main.Path == module && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}()
