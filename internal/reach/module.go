package reach

import (
	"path"
	"regexp"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// Module is what loads a file at run time, by name and not by DT_NEEDED.
type Module struct {
	// Kind is what the file is: "a native module of Node.js".
	Kind string
	// Runtime is the interpreter or server that loads it, as Interpreters has
	// it.
	Runtime string
}

// places are where interpreters and servers look for what they load.
var places = []struct {
	pattern *regexp.Regexp
	module  Module
}{
	// https://peps.python.org/pep-3149/
	{regexp.MustCompile(`/(site|dist)-packages/|/lib-dynload/|\.(cpython|pypy)-?[0-9]+[^/]*\.so$|\.abi3\.so$`), Module{"an extension module of Python", "python"}},
	{regexp.MustCompile(`/lib/php/(extensions/)?[^/]+/[^/]+\.so$|/php[0-9]*/modules/[^/]+\.so$`), Module{"an extension of PHP", "php"}},
	{regexp.MustCompile(`/nginx/modules/[^/]+\.so$`), Module{"a module of nginx", "nginx"}},
	{regexp.MustCompile(`/(apache2|httpd)/modules/[^/]+\.so$`), Module{"a module of Apache", "apache"}},
	{regexp.MustCompile(`/(postgresql[0-9]*|postgresql/[0-9]+/lib|pgsql-[0-9]+/lib)/[^/]+\.so$`), Module{"a module of PostgreSQL", "postgres"}},
	{regexp.MustCompile(`/(redis|valkey)/modules/[^/]+\.so$`), Module{"a module of Redis", "redis"}},
	{regexp.MustCompile(`/(mysql|mariadb[0-9]*)/plugin/[^/]+\.so$`), Module{"a plug-in of MariaDB or MySQL", "mysql"}},
	{regexp.MustCompile(`/perl5?/.*/?auto/.*\.so$`), Module{"a module of Perl", "perl"}},
	{regexp.MustCompile(`/(gems|extensions|vendor_ruby|site_ruby)/.*\.so$|/ruby/[0-9.]+/.*\.so$`), Module{"an extension of Ruby", "ruby"}},
	{regexp.MustCompile(`/lib/[^/]+/priv/.*\.so$`), Module{"a native library of an Erlang application", "erlang"}},
	{regexp.MustCompile(`/R/(site-)?library/[^/]+/libs/.*\.so$`), Module{"a library of an R package", "R"}},
	{regexp.MustCompile(`/(libcoreclr|libhostfxr|libhostpolicy|libclrjit|libSystem\.Native|libSystem\.[A-Za-z.]+\.Native)\.so$`), Module{"a part of the .NET runtime", "dotnet"}},
	{regexp.MustCompile(`/runtimes/[^/]+/native/`), Module{"a native library of a .NET package", "dotnet"}},
	{regexp.MustCompile(`/lib/lua/[0-9.]+/.*\.so$`), Module{"a module of Lua", "lua"}},
}

// ModuleOf reports what loads a file, by the place where interpreters look and
// the names that they look for.
func ModuleOf(fs *rootfs.FS, name string) (Module, bool) {
	switch { // https://nodejs.org/api/addons.html
	case strings.HasSuffix(name, ".node"):
		return Module{"a native module of Node.js", "node"}, true
	case strings.Contains(name, "/node_modules/"):
		return Module{"a file of an npm package", "node"}, true
	}
	for _, p := range places {
		if p.pattern.MatchString(name) {
			return p.module, true
		}
	}
	if strings.HasSuffix(name, ".so") && JavaHome(fs, name) != "" {
		return Module{"a library of a Java runtime", "java"}, true
	}
	return Module{}, false
}

// JavaHome is the Java runtime that a library belongs to, "" if to none.
func JavaHome(fs *rootfs.FS, name string) string {
	dir := path.Dir(name)
	for range 3 {
		home := path.Dir(dir)
		if path.Base(dir) == "lib" {
			if fs.Lookup(path.Join(home, "bin/java")) != nil && (fs.Lookup(path.Join(home, "release")) != nil || fs.Lookup(path.Join(dir, "modules")) != nil || fs.Lookup(path.Join(dir, "server")) != nil) {
				return home
			}
		}
		dir = home
	}
	return ""
}
