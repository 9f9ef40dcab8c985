package audit_test

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// named is an image whose program is named by something else than a shell
// script: a service manager's file, a script of another language, an argument.
type named struct {
	name  string
	argv  []string
	dir   string
	files []file
}

// namedImages are broken where the program is foreign, and sound where it is
// not.
func namedImages() []named {
	tools := func(names string, more ...file) []file {
		for _, name := range strings.Fields(names) {
			more = append(more, bin("usr/local/bin/"+name, own))
		}
		return more
	}
	const serve = "#!/bin/sh\nexec /app/server\n"
	const section = "[supervisord]\nnodaemon=true\n[program:a]\ncommand=/app/server -x\n"
	const unit = "[Unit]\nDescription=A\n[Service]\nExecStartPre=-/bin/sh -c true\nExecStart=@/app/server srv $OPTIONS\n"
	sh := func(line string) []string { return []string{"/bin/sh", "-c", line} }
	return []named{
		{"runit", words("runsvdir -P /etc/service"), "", tools("runsvdir", script("etc/service/a/run", serve))},
		{"runit by a link", words("runsvdir /etc/service"), "", tools("runsvdir", script("etc/sv/a/run", serve), symlink("etc/service/a", "/etc/sv/a"))},
		{"s6 alone", words("s6-svscan /etc/s6"), "", tools("s6-svscan", script("etc/s6/a/run", serve))},
		{"phusion's init", words("/sbin/my_init"), "", tools("python3", script("sbin/my_init", "#!/usr/local/bin/python3 -u\n"), script("etc/service/a/run", serve))},
		{"phusion's init, at boot", words("/sbin/my_init"), "", tools("python3", script("sbin/my_init", "#!/usr/local/bin/python3 -u\n"), script("etc/my_init.d/10_a", serve))},
		{"systemd", words("/sbin/init"), "", []file{bin("usr/lib/systemd/systemd", own), symlink("sbin/init", "/lib/systemd/systemd"), text("etc/systemd/system/a.service", unit), symlink("etc/systemd/system/multi-user.target.wants/a.service", "/etc/systemd/system/a.service")}},
		{"systemd's own units", words("/usr/lib/systemd/systemd"), "", []file{bin("usr/lib/systemd/systemd", own), text("usr/lib/systemd/system/a.service", unit), symlink("usr/lib/systemd/system/multi-user.target.wants/a.service", "../a.service")}},
		{"inittab of busybox", words("/sbin/init"), "", []file{bin("usr/bin/busybox", own), symlink("sbin/init", "/bin/busybox"), text("etc/inittab", "::sysinit:/bin/true\n::respawn:/app/server -x\n")}},
		{"OpenRC", words("/sbin/openrc-init"), "", []file{bin("sbin/openrc-init", own), bin("sbin/openrc-run", own), script("etc/init.d/a", "#!/sbin/openrc-run\ncommand=/app/server\n"), symlink("etc/runlevels/default/a", "/etc/init.d/a")}},
		{"cron", words("cron -f"), "", tools("cron", text("etc/cron.d/a", "# at night\n*/5 * * * * root /app/server -x\n"))},
		{"crontabs of busybox", words("crond -f"), "", tools("crond", text("var/spool/cron/crontabs/root", "0 3 * * * /app/server\n"))},
		{"jobs of the day", words("crond -f"), "", tools("crond", script("etc/periodic/daily/a", serve))},
		{"Procfile", words("honcho start"), "/app", tools("honcho", text("app/Procfile", "web: ./server -x\n"))},
		{"Procfile elsewhere", words("goreman -f /srv/Procfile.prod start"), "", tools("goreman", text("srv/Procfile.prod", "web: bash -c \"/app/server\"\n"))},
		{"supervisord with a file elsewhere", words("supervisord -c /srv/sup.ini"), "", tools("supervisord", text("srv/sup.ini", section))},
		{"supervisord with a command in lines", words("supervisord"), "", tools("supervisord", text("etc/supervisord.conf", "[program:a]\ncommand=\n    /app/server\n    -x\n"))},
		{"circus", words("circusd /etc/circus.ini"), "", tools("circusd", text("etc/circus.ini", "[watcher:a]\ncmd = /app/server\n"))},
		{"monit", words("monit -I"), "", tools("monit", text("etc/monitrc", "check process a with pidfile /x\n  start program = \"/app/server -x\"\n"))},
		{"pm2", words("pm2-runtime ecosystem.config.js"), "/app", tools("pm2-runtime", text("app/ecosystem.config.js", `module.exports = { apps: [{ script: "/app/server" }] }`))},
		{"npm in another directory", words("npm --prefix /app start"), "", tools("npm", text("app/package.json", `{"scripts":{"start":"./server"}}`))},
		{"a configuration in an option", words("launch --config=/etc/launch.toml"), "", tools("launch", text("etc/launch.toml", "exec = \"/app/server\"\n"))},
		{"Python", words("python3 /app/start.py"), "", tools("python3", text("app/start.py", "import os\n# /app/other\nos.execv('/app/server', ['server'])\n"))},
		{"Python in its directory", words("python3 start.py"), "/app", tools("python3", text("app/start.py", "import subprocess\nsubprocess.run(['./server'])\n"))},
		{"a module of Python", words("python3 -m pkg.run"), "/app", tools("python3", text("app/pkg/run.py", "import os\nos.execv('/app/server', ['server'])\n"))},
		{"Python's first line", words("/run"), "", tools("python3", script("run", "#!/usr/bin/env python3\nimport subprocess\nsubprocess.check_call(['/app/server'])\n"))},
		{"Perl's first line", words("/run"), "", tools("perl", script("run", "#!/usr/local/bin/perl\nexec('/app/server', @ARGV);\n"))},
		{"Node.js", words("node /app/start.js"), "", tools("node", text("app/start.js", "require('child_process').spawn('/app/server')\n"))},
		{"PHP", words("php /app/start.php"), "", tools("php", text("app/start.php", "<?php passthru(\"/app/server -x\");\n"))},
		{"Python in an argument", []string{"python3", "-c", "import os; os.execv('/app/server', ['x'])"}, "", tools("python3")},
		{"Node.js in an argument", []string{"node", "-e", "require('child_process').spawn('/app/server')"}, "", tools("node")},
		{"run-parts", sh("run-parts /etc/start.d"), "", tools("run-parts", script("etc/start.d/10-a", serve))},
		{"a here document", sh("sh <<E\nexec /app/server\nE"), "", nil},
		{"a shell at the end of a pipe", sh(`echo "exec /app/server" | sh`), "", nil},
		{"flock with a line for a shell", []string{"flock", "/tmp/l", "-c", "/app/server -x"}, "", tools("flock")},
		{"setarch without a machine", words("setarch -R /app/server"), "", tools("setarch")},
		{"a command line in an option", []string{"consul-template", "-template", "a:b", "-exec", "/app/server -x"}, "", tools("consul-template")},
		{"printf into a variable", []string{"/bin/bash", "-c", `printf -v X "%s" /app/server; $X`}, "", nil},
		{"a file beside the script", words("/opt/run"), "", []file{script("opt/run", "#!/bin/bash\nDIR=\"$( cd \"$( dirname \"${BASH_SOURCE[0]}\" )\" > /dev/null && pwd )\"\nsource \"$DIR/lib.sh\"\n"), text("opt/lib.sh", "exec /app/server\n")}},
		{"a module of a server in an argument", words("redis-server --loadmodule /app/server.so"), "", tools("redis-server", symlink("app/server.so", "server"))},
		{"an agent of Java", words("java -agentpath:/app/server.so=x -jar a.jar"), "", tools("java", symlink("app/server.so", "server"))},
	}
}

// of is the image with a program.
func (n named) of(program []byte) func(k *kit) string {
	return arm64(started{entrypoint: n.argv, dir: n.dir}, append([]file{bin("app/server", program)}, n.files...)...)
}

func brokenNamed() []corpusCase {
	var cases []corpusCase
	for _, n := range namedImages() {
		cases = append(cases, bad("foreign program by "+n.name, wrongArch, "/app/server", "", n.of(foreign)))
	}
	return append(cases,
		bad("foreign health check", wrongArch, "/app/server", "health check → /app/server", checked(`["CMD","/app/server","-check"]`, foreign)),
		bad("foreign health check of a shell", wrongArch, "/app/server", "health check → /bin/sh → /usr/bin/dash → -c → line 1 → /app/server", checked(`["CMD-SHELL","/app/server -check || exit 1"]`, foreign)),
	)
}

func soundNamed() []corpusCase {
	var cases []corpusCase
	for _, n := range namedImages() {
		cases = append(cases, good("own program by "+n.name, n.of(own)))
	}
	return append(cases,
		good("health check", checked(`["CMD","/app/server","-check"]`, own)),
		good("no health check", checked(`["NONE"]`, own)),
		good("health check that is none", checked(`"CMD"`, own)),
		good("health check that is not there", checked(`["CMD","curl","-f","http://localhost"]`, own)).warns("entrypoint-missing"),
		good("foreign library that glibc passes over", arm64(started{entrypoint: words("cat"), env: []string{"LD_PRELOAD=/app/x.so"}}, data("app/x.so", badLib))).warns(wrongArch),
	)
}

// checked is an image with a health check, as JSON.
func checked(test string, program []byte) func(k *kit) string {
	return func(k *kit) string {
		i := image{platform: "linux/arm64", config: entry("cat"), layers: []layer{files(k.t, append(debian(), bin("app/server", program))...)}}
		i.rawConfig = []byte(`{"os":"linux","architecture":"arm64","config":{"Entrypoint":["cat"],"Healthcheck":{"Test":` + test + `}},"rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(i.layers[0].tar).String() + `"]}}`)
		return k.one(i)
	}
}
