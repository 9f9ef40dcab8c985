package reach

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// manager is a program that starts others by files of its own.
type manager struct {
	// files are patterns of those that name programs by their paths, scripts of
	// programs that it starts, and services of directories with a file run.
	files, scripts, services []string
}

// managers are the programs that start services and timed jobs, by name.
var managers = map[string]manager{
	"crond": cron, "cron": cron, "anacron": cron, "fcron": cron, "dcron": cron,
	"monit": {files: []string{"/etc/monitrc", "/etc/monit/monitrc", "/etc/monit/conf.d/*", "/etc/monit/conf-enabled/*", "/etc/monit.d/*"}},
	// http://smarden.org/runit/, https://skarnet.org/software/s6/, https://cr.yp.to/daemontools.html
	"runsvdir": services, "runsv": services, "svscan": services, "svscanboot": services, "s6-svscan": services, "s6-supervise": services, "s6-svscanboot": services,
	"runit": {scripts: []string{"/etc/runit/[123]"}, services: serviceDirs}, "runit-init": {scripts: []string{"/etc/runit/[123]"}, services: serviceDirs}, "runsvdir-start": services,
	// https://github.com/phusion/baseimage-docker
	"my_init": {scripts: []string{"/etc/my_init.d/*", "/etc/rc.local"}, services: serviceDirs},
	// https://git.busybox.net/busybox/tree/examples/inittab, https://github.com/OpenRC/openrc
	"init":   {files: []string{"/etc/inittab", "/etc/runlevels/*/*"}, scripts: []string{"/etc/init.d/rcS", "/etc/init.d/rc", "/etc/rcS.d/S*", "/etc/rc[2345].d/S*"}},
	"openrc": {files: []string{"/etc/runlevels/*/*"}}, "openrc-init": {files: []string{"/etc/runlevels/*/*"}},
}

var (
	cron = manager{
		files:   []string{"/etc/crontab", "/etc/anacrontab", "/etc/cron.d/*", "/var/spool/cron/*", "/var/spool/cron/crontabs/*", "/etc/crontabs/*"},
		scripts: []string{"/etc/cron.hourly/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/etc/cron.monthly/*", "/etc/periodic/*/*"},
	}
	serviceDirs = []string{"/etc/service/*", "/service/*", "/etc/runit/runsvdir/default/*", "/var/service/*"}
	services    = manager{services: serviceDirs}
)

// most bounds the files of one pattern of a manager.
const mostServices = 200

// manage follows what a manager starts: by the directories and files that it is
// told, and where it is told none by those that it has.
func (g *graph) manage(p process, m manager, args []value) (some bool) {
	p.sure, p.shell, p.what = false, true, "the service"
	told := false
	for _, arg := range args {
		name, ok := arg.one()
		if !ok || !strings.HasPrefix(name, "/") || len(m.services) == 0 {
			continue
		}
		n := g.fs.Lookup(name)
		if n == nil || n.Kind != rootfs.KindDir {
			continue
		}
		told = true
		g.runFiles(p, []string{name, name + "/*"})
	}
	some = told
	if !told {
		some = g.runFiles(p, m.services)
	}
	for _, pattern := range m.scripts {
		for _, at := range Glob(g.fs, pattern, mostServices) {
			some = true
			g.service(p, at)
		}
	}
	for _, pattern := range m.files {
		for _, at := range Glob(g.fs, pattern, mostServices) {
			some = true
			g.mentioned(p, at)
		}
	}
	return some
}

// runFiles follows the services that directories describe, and reports whether
// there are any.
func (g *graph) runFiles(p process, patterns []string) (some bool) {
	for _, pattern := range patterns {
		for _, dir := range Glob(g.fs, pattern, mostServices) {
			for _, name := range []string{"run", "log/run", "finish"} {
				q := p
				q.dir = known(dir)
				at := path.Join(dir, name)
				some = some || g.fs.Lookup(at) != nil
				g.service(q, at)
			}
		}
	}
	return some
}

// service follows a program or script that a manager starts, where it is one.
func (g *graph) service(p process, at string) {
	n, _ := g.fs.Resolve(at, true)
	if n == nil || !n.IsFile() || n.Mode&0o111 == 0 || n.File == nil {
		return
	}
	key := "service\x00" + at
	if g.visited[key] {
		return
	}
	g.visited[key] = true
	p.at = p.at.then("service")
	g.startOne(p, at, nil)
}

// mentioned follows the programs that a file names by their paths.
func (g *graph) mentioned(p process, at string) {
	n, real := g.fs.Resolve(at, true)
	if n == nil || !n.IsFile() || n.File == nil {
		return
	}
	key := "mentions\x00" + real
	if g.visited[key] {
		return
	}
	g.visited[key] = true
	p.at = p.at.then(at)
	p.scriptDir = path.Dir(real)
	if len(n.File.Text) > 0 {
		g.scan(p, string(n.File.Text))
		return
	}
	p.what = "what " + at + " names"
	for _, m := range n.File.Mentions {
		g.mention(p, m)
	}
}

// mention starts what a path in a text names, where that is a program.
func (g *graph) mention(p process, m rootfs.Mention) {
	p.sure = false
	at := g.find(p, m.Path)
	if at == "" {
		return
	}
	n := g.fs.Lookup(at)
	if n == nil || !n.IsFile() || n.Mode&0o111 == 0 || n.File == nil || n.File.Format == rootfs.FormatOther {
		return
	}
	p.at = p.at.then(fmt.Sprintf("line %d", m.Line))
	g.start(p, []value{known(m.Path)})
}

// systemd follows the services that are enabled.
// https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html
func (g *graph) systemd(p process) {
	p.sure, p.what = false, "the service"
	for _, root := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		for _, pattern := range []string{"*.wants/*.service", "*.requires/*.service"} {
			for _, at := range Glob(g.fs, path.Join(root, pattern), mostServices) {
				g.unit(p, at)
			}
		}
	}
}

func (g *graph) unit(p process, at string) {
	n, real := g.fs.Resolve(at, true)
	if n == nil || n.File == nil || g.visited["unit\x00"+real] {
		return
	}
	g.visited["unit\x00"+real] = true
	p.at, p.dir = p.at.then(real), known("/")
	text := strings.ReplaceAll(string(n.File.Text), "\\\n", " ")
	for line := range strings.Lines(text) { // settings first: they may come after
		key, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.TrimSpace(key) {
		case "User":
			p.user = g.account(strings.TrimSpace(v))
		case "WorkingDirectory":
			p.dir = known(strings.TrimPrefix(strings.TrimSpace(v), "-"))
		}
	}
	for line := range strings.Lines(text) {
		key, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		key = strings.TrimSpace(key)
		if !ok || !slices.Contains([]string{"ExecStart", "ExecStartPre", "ExecStartPost", "ExecCondition"}, key) {
			continue
		}
		bare := strings.TrimLeft(strings.TrimSpace(v), "@-:+!|")
		argv := g.commandLine(p, bare)
		if strings.Contains(strings.TrimSpace(v)[:max(len(strings.TrimSpace(v))-len(bare), 0)], "@") && len(argv) > 1 {
			argv = append(argv[:1], argv[2:]...) // what it is called
		}
		q := p
		q.at = p.at.then(key)
		g.start(q, argv)
	}
}

// procfile follows the processes of a Procfile.
// https://devcenter.heroku.com/articles/procfile
func (g *graph) procfile(p process, args []value) {
	name := "Procfile"
	options(args, "fdpe", []string{"procfile", "root", "port", "env"}, func(option, argument string) {
		switch option {
		case "f", "procfile":
			name = argument
		case "d", "root":
			p.dir = known(argument)
		}
	})
	at := g.findScript(p, name)
	n := g.fs.Lookup(at)
	if at == "" || n == nil || n.File == nil {
		return
	}
	p.sure, p.dir, p.at = false, known(path.Dir(at)), p.at.then(at)
	for line := range strings.Lines(string(n.File.Text)) {
		if process, command, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			q := p
			q.at = p.at.then(process)
			g.text(q, strings.TrimSpace(command), at, nil)
		}
	}
}

// code follows what an interpreter is told to run: a file, a module, or a text
// in its arguments.
func (g *graph) code(p process, kind string, args []value) {
	p.sure, p.what = false, "what the script names"
	for i, arg := range args {
		word, ok := arg.one()
		if !ok {
			return
		}
		next := func() string {
			if i+1 >= len(args) {
				return ""
			}
			s, _ := args[i+1].one()
			return s
		}
		switch {
		case word == "-c", word == "-e", word == "-r", word == "-E", word == "--eval", word == "-p", word == "--print":
			if kind == "java" || kind == "nginx" || kind == "python" && word != "-c" {
				continue
			}
			q := p
			q.at = p.at.then(word)
			g.scan(q, next())
			return
		case word == "-m" && kind == "python":
			module := strings.ReplaceAll(next(), ".", "/")
			for _, name := range []string{module + ".py", module + "/__main__.py", module + "/__init__.py"} {
				for _, dir := range p.dir.alts {
					g.mentioned(p, path.Join("/", dir, name))
				}
			}
			return
		case strings.HasPrefix(word, "-"):
			g.library(p, word)
			continue
		}
		g.library(p, word)
		if at := g.findScript(p, word); at != "" {
			g.mentioned(p, at)
			if n := g.fs.Lookup(at); n != nil && n.File != nil && (n.File.Text != nil || n.File.Mentions != nil) {
				return
			}
		}
	}
}

// library follows a library that an argument names, as --loadmodule=/x.so and
// -agentpath:/x.so do.
func (g *graph) library(p process, word string) {
	i := strings.Index(word, "/")
	if i < 0 || len(word) > maxWord {
		return
	}
	name, _, _ := strings.Cut(word[i:], "=")
	if i > 0 && word[i-1] != '=' && word[i-1] != ':' {
		return
	}
	n, real := g.fs.Resolve(name, true)
	if n == nil || !n.IsFile() || n.File == nil || n.File.ELF == nil || !strings.Contains(path.Base(name), ".so") {
		return
	}
	p.sure, p.what = false, "a library that an argument names"
	p.at = p.at.then("its argument", real)
	g.add(p, real, n, Plugin)
	g.load(p, real, n)
}
