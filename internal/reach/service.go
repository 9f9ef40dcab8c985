package reach

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// runService follows what a program starts that its configuration names.
func (g *graph) runService(p process, base string, args []value) bool {
	if base == "systemd" {
		g.systemd(p)
		return true
	}
	if m, ok := managers[base]; ok && (!g.s6() || base == "crond" || base == "cron") && g.manage(p, m, args) {
		return true
	}
	switch base {
	case "run-parts":
		for _, arg := range args {
			dir, _ := arg.one()
			if strings.HasPrefix(dir, "/") {
				for _, at := range Glob(g.fs, dir+"/*", mostServices) {
					g.service(p, at)
				}
			}
		}
		return true
	case "honcho", "foreman", "goreman", "forego", "hivemind", "overmind", "shoreman":
		g.procfile(p, args)
		return true
	case "supervisord":
		g.supervisord(p, args)
		return true
	case "init":
		if g.s6() {
			g.s6Services(p, args)
			return true
		}
	case "s6-svscan", "s6-overlay-suexec":
		if g.s6() {
			g.s6Services(p, args)
			return true
		}
	case "npm", "npm-cli.js", "yarn", "yarn.js", "pnpm", "pnpm.cjs":
		g.npm(p, args)
		return true
	}
	return false
}

// supervisord follows the programs of its configuration.
// https://supervisord.org/configuration.html
func (g *graph) supervisord(p process, args []value) {
	config := ""
	options(args, "cduyezmlaj", []string{"configuration", "directory", "user", "logfile", "pidfile"}, func(option, argument string) {
		if option == "c" || option == "configuration" {
			config = argument
		}
	})
	at := ""
	for _, name := range []string{config, "etc/supervisord.conf", "etc/supervisor/supervisord.conf", "supervisord.conf"} {
		if name == "" || at != "" || config != "" && name != config {
			continue
		}
		at = g.findScript(process{env: map[string]value{"PATH": known("/")}, dir: p.dir}, name)
		if at == "" {
			if full := path.Join("/", name); g.fs.Lookup(full) != nil {
				at = full
			}
		}
	}
	g.supervisorFile(p, at, 0)
}

func (g *graph) supervisorFile(p process, at string, depth int) {
	n := g.fs.Lookup(at)
	if n == nil || n.File == nil || depth > 4 {
		return
	}
	section, program := "", ""
	q := p
	settings := map[string]string{}
	flush := func() {
		if command := settings["command"]; program != "" && command != "" {
			q := p
			if dir := settings["directory"]; dir != "" {
				q.dir = known(dir)
			}
			if user := settings["user"]; user != "" {
				q.user = g.account(user)
			}
			q.sure = p.sure && settings["autostart"] != "false"
			q.at = p.at.then(at, "["+program+"]")
			q.what, q.scriptDir = "what ["+program+"] of "+at+" starts", path.Dir(at)
			g.start(q, g.commandLine(q, command))
		}
		settings = map[string]string{}
	}
	last := ""
	for line := range strings.Lines(string(n.File.Text)) {
		continued := last != "" && (line[0] == ' ' || line[0] == '\t')
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if continued {
			settings[last] += " " + line
			continue
		}
		if strings.HasPrefix(line, "[") {
			flush()
			section = strings.Trim(line, "[] ")
			program = ""
			if strings.HasPrefix(section, "program:") || strings.HasPrefix(section, "eventlistener:") || strings.HasPrefix(section, "fcgi-program:") {
				program = section
			}
			continue
		}
		key, v, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		v, _, _ = strings.Cut(v, " ;")
		last = strings.TrimSpace(key)
		settings[last] = strings.TrimSpace(v)
		if section == "include" && strings.TrimSpace(key) == "files" {
			for pattern := range strings.FieldsSeq(v) {
				if !strings.HasPrefix(pattern, "/") {
					pattern = path.Join(path.Dir(at), pattern)
				}
				for _, file := range Glob(g.fs, pattern, maxGlob) {
					g.supervisorFile(q, file, depth+1)
				}
			}
		}
	}
	flush()
}

// commandLine divides a command as a shell does, without running one.
func (g *graph) commandLine(p process, command string) []value {
	for _, name := range slices.Sorted(maps.Keys(p.env)) {
		if v, ok := p.env[name].one(); ok {
			command = strings.ReplaceAll(command, "%(ENV_"+name+")s", v)
		}
	}
	var out []value
	var word strings.Builder
	quote, some := byte(0), false
	for i := 0; i < len(command) && i < maxWord; i++ {
		c := command[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case c == '"' || c == '\'':
			quote, some = c, true
		case c == '\\' && i+1 < len(command):
			i++
			word.WriteByte(command[i])
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if word.Len() > 0 || some {
				out = append(out, known(word.String()))
				word.Reset()
				some = false
			}
		default:
			word.WriteByte(c)
		}
	}
	if word.Len() > 0 || some {
		out = append(out, known(word.String()))
	}
	return out
}

// s6 reports whether the image has s6-overlay.
// https://github.com/just-containers/s6-overlay
func (g *graph) s6() bool {
	for _, name := range []string{"/package/admin", "/etc/s6-overlay", "/etc/services.d", "/etc/cont-init.d", "/command"} {
		if g.fs.Lookup(name) != nil {
			return g.fs.Lookup("/init") != nil
		}
	}
	return false
}

// s6Services follows the services of s6-overlay, and the image's command, which
// its init starts.
func (g *graph) s6Services(p process, args []value) {
	if !g.visited["s6"] {
		g.visited["s6"] = true
		for _, pattern := range []string{"/etc/cont-init.d/*", "/etc/services.d/*/run", "/etc/s6-overlay/s6-rc.d/*/run", "/etc/s6-overlay/s6-rc.d/*/up", "/etc/s6-overlay/scripts/*"} {
			for _, at := range Glob(g.fs, pattern, 200) {
				n, real := g.fs.Resolve(at, true)
				if n == nil || !n.IsFile() || n.File == nil {
					continue
				}
				q := p
				q.at, q.what, q.shell = p.at.then("service", at), "the service", true
				q.sure = false
				switch {
				case n.File.Format == rootfs.FormatScript:
					q.at = q.at.then()
					g.interpreter(q, at, real, n, nil)
				case n.File.Format == rootfs.FormatELF:
					g.startOne(q, at, nil)
				case path.Base(at) == "up": // a line of execline
					g.execlineText(q, string(n.File.Text))
				}
			}
		}
	}
	if len(args) > 0 {
		q := p
		q.at, q.sure = p.at.then("its argument"), false
		g.start(q, args)
	}
}

// execline follows a script of that language.
func (g *graph) execline(p process, args []value) {
	for i, arg := range args {
		name, ok := arg.one()
		if !ok || strings.HasPrefix(name, "-") {
			if name == "-c" && i+1 < len(args) {
				line, _ := args[i+1].one()
				g.execlineText(p, line)
				return
			}
			continue
		}
		if n := g.fs.Lookup(name); n != nil && n.File != nil {
			p.scriptDir = path.Dir(name)
			key := "execline\x00" + name
			if !g.visited[key] {
				g.visited[key] = true
				g.execlineText(p, string(n.File.Text))
			}
		}
		return
	}
}

// execlineText starts what a script of chained commands names: each word that
// is a program by its path, or that begins a command in PATH.
// https://skarnet.org/software/execline/
func (g *graph) execlineText(p process, source string) {
	p.sure, p.what, p.shell = false, "what the script names", true
	for i, line := range strings.Split(source, "\n") {
		if i > 2000 {
			return
		}
		line, _, _ = strings.Cut(line, "#")
		for _, word := range g.commandLine(p, line) {
			name, ok := word.one()
			if !ok || strings.ContainsAny(name, "{}$") || g.find(p, name) == "" {
				continue
			}
			at := g.find(p, name)
			if n := g.fs.Lookup(at); n == nil || !n.IsFile() || n.Mode&0o111 == 0 || n.File == nil || n.File.Format == rootfs.FormatOther {
				continue
			}
			q := p
			q.at = p.at.then(fmt.Sprintf("line %d", i+1))
			g.startOne(q, name, nil)
		}
	}
}

// npm follows the scripts of a package.json.
func (g *graph) npm(p process, args []value) {
	if g.out.Interpreters["node"] == nil {
		g.out.Interpreters["node"] = p.at.chain()
	}
	script := ""
	rest, _ := options(args, "C", []string{"prefix", "cwd", "dir"}, func(option, argument string) {
		if strings.HasPrefix(argument, "/") {
			p.dir = known(argument)
		}
	})
	for i, arg := range rest {
		word, _ := arg.one()
		switch {
		case word == "run" || word == "run-script":
			continue
		case i > 0 || script == "":
			script = word
		}
		break
	}
	if script == "" {
		return
	}
	dir, _ := p.dir.one()
	at := path.Join("/", dir, "package.json")
	n := g.fs.Lookup(at)
	if n == nil || n.File == nil {
		return
	}
	var manifest struct {
		Scripts map[string]string `json:"scripts"`
	}
	if json.Unmarshal(n.File.Text, &manifest) != nil || manifest.Scripts[script] == "" {
		return
	}
	q := p
	q.sure = false
	q.at = p.at.then(at, "scripts."+script)
	bin := path.Join("/", dir, "node_modules/.bin")
	list := defaultPath
	if old, ok := p.env["PATH"].one(); ok {
		list = old
	}
	q = q.with("PATH", known(bin+":"+list))
	g.text(q, manifest.Scripts[script], at, nil)
}

// preloaded follows the libraries and programs that the environment names.
func (g *graph) preloaded(p process) {
	var libraries []string
	if v, ok := p.env["LD_PRELOAD"].one(); ok {
		libraries = strings.FieldsFunc(v, func(r rune) bool { return r == ':' || r == ' ' })
	}
	if n := g.fs.Lookup("/etc/ld.so.preload"); n != nil && n.File != nil {
		libraries = append(libraries, strings.Fields(string(n.File.Text))...)
	}
	for _, at := range libraries[:min(len(libraries), 20)] {
		if n, real := g.fs.Resolve(at, true); n != nil && n.IsFile() && n.File != nil && n.File.ELF != nil {
			q := p
			q.what, q.at = "a library that is loaded into every program", (*trail)(nil).then("LD_PRELOAD", real)
			g.add(q, real, n, Preloaded)
		}
	}
	if v, ok := p.env["JAVA_HOME"].one(); ok && v != "" {
		at := path.Join("/", v, "bin/java")
		if n, real := g.fs.Resolve(at, true); n != nil && n.IsFile() && n.File != nil && n.File.Format == rootfs.FormatELF {
			q := p
			q.sure, q.what, q.at = false, "java", (*trail)(nil).then("JAVA_HOME")
			if g.out.byPath[real] == nil {
				g.startOne(q, at, nil)
			}
		}
	}
}
