package audit_test

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/rootfs/elftest"
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

// placedImages hold a library where something loads it, which is foreign in a
// broken image, and where nothing beside it is for the image's machine.
func placedImages() []struct{ name, path string } {
	return []struct{ name, path string }{
		{"a plug-in of GStreamer", "usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstx.so"},
		{"a module of PAM", "usr/lib/aarch64-linux-gnu/security/pam_x.so"},
		{"a provider of OpenSSL", "usr/lib/aarch64-linux-gnu/ossl-modules/legacy.so"},
		{"an engine of OpenSSL in Alpine", "usr/lib/engines-3/afalg.so"},
		{"a plug-in of Qt", "usr/lib/aarch64-linux-gnu/qt5/plugins/platforms/libqxcb.so"},
		{"a converter of glibc", "usr/lib/aarch64-linux-gnu/gconv/UTF-16.so"},
		{"a helper of git", "usr/lib/git-core/git-remote-http"},
		{"a helper in libexec", "usr/libexec/x/helper"},
		{"a library of JNI", "app/native/libfoo.so"},
		{"a library of .NET in an application", "app/libSkiaSharp.so"},
		{"a library of OCaml", "usr/lib/ocaml/stublibs/dllunix.so"},
		{"a module of OpenResty", "usr/local/openresty/lualib/cjson.so"},
		{"an extension of PostgreSQL elsewhere", "opt/vendor/postgresql/lib/vector.so"},
		{"a module of Redis elsewhere", "opt/redis-stack/lib/redisearch.so"},
		{"libjvm of an old Java", "usr/lib/jvm/java-8/jre/lib/aarch64/server/libjvm.so"},
	}
}

func brokenPlaced() []corpusCase {
	var cases []corpusCase
	for _, p := range placedImages() {
		cases = append(cases, bad("foreign: "+p.name, wrongArch, "/"+p.path, "", arm64(started{entrypoint: words("cat")}, bin(p.path, badLib))))
	}
	// Modules of interpreters that are for this machine, and lack a library.
	lacking := elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libc.so.6", "libzz.so.3"}})
	for _, m := range []struct{ program, path string }{
		{"node", "app/node_modules/canvas/build/Release/canvas.node"},
		{"python3", "usr/local/lib/python3.12/site-packages/psycopg2/_psycopg.cpython-312-aarch64-linux-gnu.so"},
		{"python3", "opt/venv/lib/python3.12/site-packages/x/_x.abi3.so"},
		{"ruby", "usr/local/bundle/gems/nokogiri-1.15/lib/nokogiri/nokogiri.so"},
		{"php-fpm", "usr/local/lib/php/extensions/no-debug-non-zts-20230831/redis.so"},
		{"perl", "usr/local/lib/aarch64-linux-gnu/perl/5.36.0/auto/DBD/Pg/Pg.so"},
	} {
		cases = append(cases,
			bad("module without its library: "+m.path, "library-missing", "/"+m.path, "", arm64(started{entrypoint: words(m.program)}, bin("usr/bin/"+m.program, linked("libc.so.6")), data(m.path, lacking))),
			bad("module for a newer glibc: "+m.path, "libc-version", "/"+m.path, "", arm64(started{entrypoint: words(m.program)}, bin("usr/bin/"+m.program, linked("libc.so.6")), data(m.path, newer))))
	}
	node := started{entrypoint: words("node /app/a.js")}
	return append(cases,
		bad("only a module for musl", "library-missing", "/app/node_modules/@img/sharp-linuxmusl-arm64/lib/s.node", "", arm64(node, bin("usr/bin/node", linked("libc.so.6")), data("app/node_modules/@img/sharp-linuxmusl-arm64/lib/s.node", forMusl))),
		bad("only a module for glibc", "library-missing", "/app/node_modules/@img/sharp-linux-arm64/lib/s.node", "", func(k *kit) string {
			return k.one(image{platform: "linux/arm64", config: node.config(), layers: []layer{files(k.t, append(alpine(), bin("usr/bin/node", elftest.Make(elftest.File{Arch: "arm64", Interp: "/lib/ld-musl-aarch64.so.1"})),
				data("app/node_modules/@img/sharp-linux-arm64/lib/s.node", elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libstdc++.so.6", "libc.so.6", "ld-linux-aarch64.so.1"}})))...)}})
		}),
	)
}

// forMusl is a module that musl's loader alone can load, newer one that needs
// a newer glibc than the image has.
var (
	forMusl = elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libc.musl-aarch64.so.1"}})
	newer   = elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libc.so.6"}, Wants: map[string][]string{"libc.so.6": {"GLIBC_2.38"}}})
)

func soundPlaced() []corpusCase {
	var cases []corpusCase
	for _, p := range placedImages() {
		cases = append(cases, good("own: "+p.name, arm64(started{entrypoint: words("cat")}, bin(p.path, ownLib))))
	}
	node := started{entrypoint: words("node /app/a.js")}
	return append(cases,
		good("modules for both C libraries in one directory", arm64(node, bin("usr/bin/node", linked("libc.so.6")), data("app/node_modules/x/prebuilds/linux-arm64/n.glibc.node", ownLib), data("app/node_modules/x/prebuilds/linux-arm64/n.musl.node", forMusl))),
		good("packages for both C libraries", arm64(node, bin("usr/bin/node", linked("libc.so.6")), data("app/node_modules/@img/sharp-linux-arm64/lib/s.node", ownLib), data("app/node_modules/@img/sharp-linuxmusl-arm64/lib/s.node", forMusl))),
		good("module of Python whose part is left out", arm64(started{entrypoint: words("python3")}, bin("usr/bin/python3", linked("libc.so.6")), data("usr/local/lib/python3.12/lib-dynload/_tkinter.cpython-312-aarch64-linux-gnu.so", elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libtk8.6.so"}})))),
		good("RUNPATH with $LIB in Debian", arm64(started{entrypoint: words("/app/server")}, bin("app/server", elftest.Make(elftest.File{Arch: "arm64", Interp: elftest.Loaders["arm64"], Needed: []string{"libx.so.1"}, RunPath: "$ORIGIN/$LIB"})), data("app/lib/aarch64-linux-gnu/libx.so.1", ownLib))),
		good("a library beside one for another machine", arm64(started{entrypoint: words("cat")}, data("app/libx-x86_64.so", badLib), data("app/libx-aarch64.so", ownLib), data("app/liby.so", badLib), data("app/liby-aarch64.so", ownLib))),
	)
}
