package audit_test

import (
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/rootfs/elftest"
)

// What an arm64 image is made of here: programs that are linked as a
// distribution links its own, static ones, and their like for amd64.
var (
	own     = elftest.Make(elftest.File{Arch: "arm64"})
	foreign = elftest.Make(elftest.File{Arch: "amd64"})
	ownLib  = elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libc.so.6"}})
	badLib  = elftest.Make(elftest.File{Arch: "amd64", Needed: []string{"libc.so.6"}})
	badDyn  = elftest.Make(elftest.File{Arch: "amd64", Interp: elftest.Loaders["amd64"], Needed: []string{"libc.so.6"}})
)

// linked is a program of arm64 that needs libraries.
func linked(needed ...string) []byte {
	return elftest.Make(elftest.File{Arch: "arm64", Interp: elftest.Loaders["arm64"], Needed: needed})
}

// debian are the loader, the C library and the tools of a small system.
func debian() []file {
	return []file{
		bin("usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", elftest.Make(elftest.File{Arch: "arm64", SoName: "ld-linux-aarch64.so.1"})),
		symlink("lib", "usr/lib"), symlink("bin", "usr/bin"),
		symlink("usr/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1"),
		data("usr/lib/aarch64-linux-gnu/libc.so.6", elftest.Make(elftest.File{Arch: "arm64", SoName: "libc.so.6", Defines: []string{"GLIBC_2.17", "GLIBC_2.34", "GLIBC_2.36"}})),
		bin("usr/bin/dash", linked("libc.so.6")), symlink("usr/bin/sh", "dash"), bin("usr/bin/bash", linked("libc.so.6")), bin("usr/bin/env", linked("libc.so.6")), bin("usr/bin/cat", linked("libc.so.6")),
		text("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"), text("etc/group", "root:x:0:\napp:x:1000:\nextra:x:50:app\n"),
	}
}

// started is an image that is started so.
type started struct {
	entrypoint, cmd, env []string
	dir, user            string
}

func words(s string) []string { return strings.Fields(s) }

func (s started) config() ocispecs.ImageConfig {
	return ocispecs.ImageConfig{Entrypoint: s.entrypoint, Cmd: s.cmd, Env: s.env, WorkingDir: s.dir, User: s.user}
}

// arm64 is an image of Debian's files and more.
func arm64(s started, more ...file) func(k *kit) string {
	return func(k *kit) string {
		return k.one(image{platform: "linux/arm64", config: s.config(), layers: []layer{files(k.t, append(debian(), more...)...)}})
	}
}

// bad is an image that must be found, with where and how.
func bad(name, id, path, chain string, make func(k *kit) string) corpusCase {
	return corpusCase{name: name, id: id, severity: audit.Error, path: path, chain: chain, make: make}
}

func good(name string, make func(k *kit) string) corpusCase {
	return corpusCase{name: name, make: make}
}

const wrongArch = "elf-architecture"

// viaSh is the beginning of the chain of a script that is the entrypoint.
const viaSh = "entrypoint → /run → #! line → /bin/sh → /usr/bin/dash → "

func run(lines ...string) file { return script("run", "#!/bin/sh\n"+strings.Join(lines, "\n")+"\n") }

// brokenReach are images whose foreign or broken file is reached by something
// else than its name in the config.
func brokenReach() []corpusCase {
	var cases []corpusCase
	add := func(c ...corpusCase) { cases = append(cases, c...) }
	entry := started{entrypoint: words("/run")}
	server := bin("app/server", foreign)
	// Scripts: what they start, and in which line.
	for _, tt := range []struct {
		name, chain string
		lines       []string
		more        []file
	}{
		{"exec", "line 2 → /app/server", []string{"exec /app/server"}, nil},
		{"exec of a program below usr/share", "line 2 → /usr/share/server", []string{"exec /usr/share/server"}, []file{bin("usr/share/server", foreign)}},
		{"exec of a program below a directory of tests", "line 2 → /srv/tests/server", []string{"exec /srv/tests/server"}, []file{bin("srv/tests/server", foreign)}},
		{"exec of a program in tls", "line 2 → /srv/tls/server", []string{"exec /srv/tls/server"}, []file{bin("srv/tls/server", foreign)}},
		{"exec of something called qemu", "line 2 → /app/bin/qemu-helper", []string{"/app/bin/qemu-helper --serve"}, []file{bin("app/bin/qemu-helper", foreign)}},
		{"a variable", "line 3 → /app/server", []string{`HOME_OF=/app`, `exec "$HOME_OF/server" "$@"`}, nil},
		{"a default", "line 2 → /app/server", []string{`exec "${SERVER:-/app/server}"`}, nil},
		{"its own directory", "line 3 → /app/server", []string{`DIR="$(cd "$(dirname "$0")" && pwd)"`, `exec "$DIR/app/server"`}, nil},
		{"cd", "line 3 → /app/server", []string{"cd /app", "./server"}, nil},
		{"an if", "line 3 → /app/server", []string{`if [ -z "$SKIP" ]; then`, "  exec /app/server", "fi"}, nil},
		{"an else", "line 5 → /app/server", []string{`if [ "$1" = other ]; then`, "  exec cat", "else", "  exec /app/server", "fi"}, nil},
		{"a case", "line 4 → /app/server", []string{`case "$MODE" in`, "  worker) exec cat ;;", "  *) exec /app/server ;;", "esac"}, nil},
		{"a function", "line 3 → /app/server", []string{"main() {", "  exec /app/server", "}", `main "$@"`}, nil},
		{"a wrapper", "line 2 → /usr/bin/env → /app/server", []string{"exec env PORT=80 /app/server"}, nil},
		{"another script", "line 2 → /start2 → #! line → /bin/sh → /usr/bin/dash → line 2 → /app/server", []string{"exec /start2"}, []file{script("start2", "#!/bin/sh\nexec /app/server\n")}},
		{"a sourced file", "line 2 → /lib.sh → line 1 → /app/server", []string{". /lib.sh"}, []file{text("lib.sh", "exec /app/server\n")}},
		{"eval", "line 3 → line 1 → /app/server", []string{`CMD="exec /app/server"`, `eval "$CMD"`}, nil},
		{"set --", "line 3 → /app/server", []string{"set -- /app/server --port 80", `exec "$@"`}, nil},
		{"an array", "line 3 → /app/server", []string{"cmd=(/app/server --port 80)", `exec "${cmd[@]}"`}, nil},
		{"words of a variable", "line 3 → /app/server", []string{`CMD="/app/server --port 80"`, `exec $CMD`}, nil},
		{"an alternative by the machine", "line 3 → /app/server-x", []string{`case "$(uname -m)" in`, "  aarch64) exec /app/server-x ;;", "  x86_64) exec cat ;;", "esac"}, []file{bin("app/server-x", foreign)}},
		{"a background job", "line 2 → /app/server", []string{"/app/server &", "wait"}, nil},
		{"a pipe", "line 2 → /app/server", []string{"/app/server | cat"}, nil},
		{"a loop", "line 2 → /app/server", []string{"while true; do /app/server; done"}, nil},
		{"PATH that it exports", "line 3 → /app/server", []string{"export PATH=/app:$PATH", "exec server"}, nil},
	} {
		more := tt.more
		if !strings.Contains(tt.chain, "/") || strings.HasSuffix(tt.chain, "/app/server") {
			more = append(more, server)
		}
		path := tt.chain[strings.LastIndex(tt.chain, " ")+1:]
		add(bad("script starts by "+tt.name, wrongArch, path, viaSh+tt.chain, arm64(entry, append(more, run(tt.lines...))...)))
	}
	add(
		bad("script that does not parse", wrongArch, "/app/server", viaSh+"line 3 → /app/server", arm64(entry, server, run("if then ((", "exec /app/server"))),
		bad("script hands over to CMD", wrongArch, "/app/server", viaSh+"line 2 → /app/server", arm64(started{entrypoint: words("/run"), cmd: words("/app/server")}, server, run(`exec "$@"`))),
		bad("tini, script, CMD", wrongArch, "/app/server", "entrypoint → /usr/bin/tini → /run → #! line → /bin/sh → /usr/bin/dash → line 2 → /app/server",
			arm64(started{entrypoint: words("tini -- /run"), cmd: words("/app/server")}, server, run(`exec "$@"`), bin("usr/bin/tini", own))),
		bad("tini, script, CMD that is gone", "entrypoint-missing", "redis-server", "entrypoint → /usr/bin/tini → /run → #! line → /bin/sh → /usr/bin/dash → line 5",
			arm64(started{entrypoint: words("tini -- /run"), cmd: words("redis-server")}, run(`if [ "${1#-}" != "$1" ]; then`, `  set -- redis-server "$@"`, "fi", `exec "$@"`), bin("usr/bin/tini", own))),
		bad("exec of what is not there", "entrypoint-missing", "/app/server", viaSh+"line 2", arm64(entry, run("exec /app/server"))),
		bad("gosu", wrongArch, "/app/server", viaSh+"line 2 → /usr/bin/gosu → /app/server", arm64(entry, server, run("exec gosu app /app/server"), bin("usr/bin/gosu", own))),
		bad("su-exec in the entrypoint", wrongArch, "/app/server", "entrypoint → /sbin/su-exec → /app/server", arm64(started{entrypoint: words("/sbin/su-exec app /app/server")}, server, bin("sbin/su-exec", own))),
		bad("setpriv", wrongArch, "/app/server", "entrypoint → /usr/bin/setpriv → /app/server", arm64(started{entrypoint: words("setpriv --reuid 1000 --clear-groups -- /app/server")}, server, bin("usr/bin/setpriv", own))),
		bad("dumb-init", wrongArch, "/app/server", "entrypoint → /usr/bin/dumb-init → /app/server", arm64(started{entrypoint: words("dumb-init -r 15:2 /app/server")}, server, bin("usr/bin/dumb-init", own))),
		bad("timeout and nice", wrongArch, "/app/server", "entrypoint → /usr/bin/timeout → /usr/bin/nice → /app/server", arm64(started{entrypoint: words("timeout -k 5 60 nice -n 10 /app/server")}, server, bin("usr/bin/timeout", own), bin("usr/bin/nice", own))),
		bad("env -S in the entrypoint", wrongArch, "/app/server", "entrypoint → /usr/bin/env → /app/server", arm64(started{entrypoint: []string{"env", "-S", "A=1 /app/server -v"}}, server)),
		bad("the loader is told the program", "library-missing", "/app/server", "entrypoint → /lib/ld-linux-aarch64.so.1 → /usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1 → /app/server → DT_NEEDED libx.so",
			arm64(started{entrypoint: words("/lib/ld-linux-aarch64.so.1 --library-path /x /app/server")}, bin("app/server", linked("libx.so")))),
		bad("sh -c with an assignment", wrongArch, "/app/server", "entrypoint → /bin/sh → /usr/bin/dash → -c → line 1 → /app/server", arm64(started{entrypoint: []string{"/bin/sh", "-c", "PORT=80 /app/server"}}, server)),
		bad("sh -ec with cd", wrongArch, "/app/server", "entrypoint → /bin/sh → /usr/bin/dash → -c → line 1 → /app/server", arm64(started{entrypoint: []string{"/bin/sh", "-ec", "cd /app && exec ./server"}}, server)),
		bad("shell form of the command", wrongArch, "/app/server", "command → /bin/sh → /usr/bin/dash → -c → line 1 → /app/server", arm64(started{cmd: []string{"/bin/sh", "-c", "/app/server --port $PORT"}}, server)),
		bad("sh and a script", wrongArch, "/app/server", "entrypoint → /usr/bin/sh → /usr/bin/dash → script → /start.sh → line 1 → /app/server", arm64(started{entrypoint: words("sh /start.sh")}, server, text("start.sh", "exec /app/server\n"))),
		bad("a script through a link", wrongArch, "/app/server", "entrypoint → /usr/bin/app → /opt/app/run.sh → #! line → /bin/sh → /usr/bin/dash → line 2 → /app/server",
			arm64(started{entrypoint: words("app")}, server, script("opt/app/run.sh", "#!/bin/sh\nexec /app/server\n"), symlink("usr/bin/app", "/opt/app/run.sh"))),
		bad("JAVA_HOME in a script", wrongArch, "/opt/jdk/bin/java", viaSh+"line 2 → /opt/jdk/bin/java", arm64(started{entrypoint: words("/run"), env: []string{"JAVA_HOME=/opt/jdk"}}, bin("opt/jdk/bin/java", badDyn), run(`exec "$JAVA_HOME/bin/java" -jar app.jar`))),
		bad("JAVA_HOME below usr/share", wrongArch, "/usr/share/java-17/bin/java", "JAVA_HOME → /usr/share/java-17/bin/java", arm64(started{env: []string{"JAVA_HOME=/usr/share/java-17"}, entrypoint: words("/app/start")}, bin("app/start", own), bin("usr/share/java-17/bin/java", badDyn))),
		bad("libjvm of the Java that is started", wrongArch, "/opt/jdk/lib/server/libjvm.so", "entrypoint → /opt/jdk/bin/java → a library of a Java runtime → /opt/jdk/lib/server/libjvm.so",
			arm64(started{entrypoint: words("/opt/jdk/bin/java -jar /app.jar")}, bin("opt/jdk/bin/java", own), data("opt/jdk/lib/server/libjvm.so", badLib), text("opt/jdk/release", "JAVA_VERSION=17\n"))),
		bad("supervisord", wrongArch, "/app/server", "entrypoint → /usr/bin/supervisord → /etc/supervisor/supervisord.conf → [program:web] → /app/server",
			arm64(started{entrypoint: words("supervisord -n -c /etc/supervisor/supervisord.conf")}, server, bin("usr/bin/supervisord", own), text("etc/supervisor/supervisord.conf", "[supervisord]\nnodaemon=true\n[program:web]\ncommand=/app/server --port %(ENV_PORT)s ; a comment\n"))),
		bad("supervisord includes", wrongArch, "/app/server", "entrypoint → /usr/bin/supervisord → /etc/supervisor/conf.d/web.conf → [program:web] → /app/server",
			arm64(started{entrypoint: words("supervisord")}, server, bin("usr/bin/supervisord", own), text("etc/supervisor/supervisord.conf", "[include]\nfiles = conf.d/*.conf\n"), text("etc/supervisor/conf.d/web.conf", "[program:web]\ncommand=/app/server\n"))),
		bad("s6-overlay of another machine", wrongArch, "/package/admin/s6-overlay-helpers-0.1/command/s6-overlay-suexec", "entrypoint → /init → #! line → /bin/sh → /usr/bin/dash → line 2 → /command/s6-overlay-suexec → /package/admin/s6-overlay-helpers-0.1/command/s6-overlay-suexec",
			arm64(started{entrypoint: words("/init")}, script("init", "#!/bin/sh -e\nexec s6-overlay-suexec ' /package/admin/s6-overlay/libexec/preinit' '' \"$@\"\n"),
				bin("package/admin/s6-overlay-helpers-0.1/command/s6-overlay-suexec", foreign), symlink("command/s6-overlay-suexec", "../package/admin/s6-overlay-helpers-0.1/command/s6-overlay-suexec"))),
		bad("a service of s6-overlay", wrongArch, "/app/server", "entrypoint → /init → service → /etc/services.d/web/run → #! line → /bin/sh → /usr/bin/dash → line 2 → /app/server",
			arm64(started{entrypoint: words("/init")}, bin("init", own), server, script("etc/services.d/web/run", "#!/bin/sh\nexec /app/server\n"), dir("etc/cont-init.d"))),
		bad("npm start", wrongArch, "/app/bin/server", "entrypoint → /usr/bin/npm → /app/package.json → scripts.start → line 1 → /app/bin/server",
			arm64(started{entrypoint: words("npm start"), dir: "/app"}, bin("usr/bin/npm", own), text("app/package.json", `{"scripts":{"start":"NODE_ENV=production ./bin/server"}}`), bin("app/bin/server", foreign))),
	)
	// PATH: what lies there, wherever it really is.
	inPath := func(name, chain string, more ...file) {
		path := chain[strings.LastIndex(chain, " ")+1:]
		add(bad(name, wrongArch, path, chain, arm64(started{entrypoint: words("/app/own"), env: []string{"PATH=/opt/x/bin:/usr/bin:/usr/local/bin"}}, append(more, bin("app/own", own))...)))
	}
	inPath("a link in PATH", "PATH directory /usr/local/bin → /usr/local/bin/tool → /opt/tool", bin("opt/tool", foreign), symlink("usr/local/bin/tool", "/opt/tool"))
	inPath("a link in PATH to usr/share", "PATH directory /usr/local/bin → /usr/local/bin/tool → /usr/share/tool", bin("usr/share/tool", foreign), symlink("usr/local/bin/tool", "/usr/share/tool"))
	inPath("a link in PATH to testdata", "PATH directory /usr/local/bin → /usr/local/bin/tool → /src/testdata/tool", bin("src/testdata/tool", foreign), symlink("usr/local/bin/tool", "../../../src/testdata/tool"))
	inPath("a directory of PATH of the image's own", "PATH directory /opt/x/bin → /opt/x/bin/tool", bin("opt/x/bin/tool", foreign))
	inPath("a directory of PATH that is a link", "PATH directory /opt/x/bin → /srv/bin/tool", bin("srv/bin/tool", foreign), symlink("opt/x/bin", "/srv/bin"))
	add(
		bad("Windows program in PATH", "foreign-format", "/usr/bin/x.exe", "PATH directory /usr/bin → /usr/bin/x.exe", func(k *kit) string {
			return arm64(started{entrypoint: words("/run")}, run("true"), bin("usr/bin/x.exe", k.c.Go(k.t, "windows/amd64")))(k)
		}),
		bad("FreeBSD program in PATH", "foreign-format", "/usr/bin/x", "PATH directory /usr/bin → /usr/bin/x", arm64(started{entrypoint: words("/run")}, run("true"), bin("usr/bin/x", elftest.Make(elftest.File{Arch: "arm64", OSABI: 9})))),
		bad("script in PATH without its interpreter", "script-interpreter", "/usr/local/bin/tool", "PATH directory /usr/local/bin → /usr/local/bin/tool", arm64(started{entrypoint: words("/run")}, run("true"), script("usr/local/bin/tool", "#!/usr/bin/python3\n"))),
		bad("script in PATH without the interpreter of env", "script-interpreter", "/usr/local/bin/tool", "PATH directory /usr/local/bin → /usr/local/bin/tool → #! line", arm64(started{entrypoint: words("/run")}, run("true"), script("usr/local/bin/tool", "#!/usr/bin/env python3\n"))),
		bad("program in PATH without its library", "library-missing", "/usr/local/bin/tool", "PATH directory /usr/local/bin → /usr/local/bin/tool → DT_NEEDED libx.so.1", arm64(started{entrypoint: words("/run")}, run("true"), bin("usr/local/bin/tool", linked("libc.so.6", "libx.so.1")))),
		bad("program in PATH without its loader", "interpreter-missing", "/usr/local/bin/tool", "PATH directory /usr/local/bin → /usr/local/bin/tool", arm64(started{entrypoint: words("/run")}, run("true"), bin("usr/local/bin/tool", elftest.Make(elftest.File{Arch: "arm64", Interp: "/lib/ld-musl-aarch64.so.1"})))),
	)
	// First lines, as Linux reads them.
	for _, tt := range []struct{ name, line string }{
		{"options behind env", "#!/usr/bin/env bash -e"}, {"a carriage return behind env", "#!/usr/bin/env bash\r"}, {"a carriage return behind an option", "#!/bin/sh -e\r"},
		{"a carriage return", "#!/bin/sh\r"}, {"no interpreter", "#!"}, {"a missing interpreter", "#!/bin/zsh"}, {"a missing interpreter behind env -S", "#!/usr/bin/env -S -u X zsh -e"},
	} {
		add(bad("first line with "+tt.name, "script-interpreter", "/run", "", arm64(entry, script("run", tt.line+"\nexec true\n"))))
	}
	return append(cases, brokenModules()...)
}

// brokenModules are images in which something loads a foreign file at run time.
func brokenModules() []corpusCase {
	var cases []corpusCase
	for _, tt := range []struct{ kind, runtime, path string }{
		{"a native module of Node.js", "node", "app/node_modules/bcrypt/build/Release/bcrypt_lib.node"},
		{"a native module of Node.js", "node", "app/node_modules/@napi-rs/canvas-linux-x64-gnu/skia.linux-x64-gnu.node"},
		{"a native module of Node.js", "node", "app/node_modules/@img/sharp-linux-x64/lib/sharp-linux-x64.node"},
		{"a native module of Node.js", "node", "app/node_modules/@rollup/rollup-linux-x64-gnu/rollup.linux-x64-gnu.node"},
		{"a native module of Node.js", "node", "app/node_modules/@swc/core-linux-x64-musl/swc.linux-x64-musl.node"},
		{"a native module of Node.js", "node", "app/node_modules/x/prebuilds/linux-x64/x.node"},
		{"a native module of Node.js", "node", "usr/share/search/node_modules/re2/build/Release/re2.node"},
		{"a native module of Node.js", "node", "app/addon.node"},
		{"a file of an npm package", "node", "app/node_modules/@esbuild/linux-x64/bin/esbuild"},
		{"a file of an npm package", "node", "app/node_modules/@img/sharp-libvips-linux-x64/lib/libvips-cpp.so.42"},
		{"an extension module of Python", "python", "opt/tool/.venv/lib/python3.13/site-packages/pydantic_core/_pydantic_core.cpython-313-x86_64-linux-gnu.so"},
		{"an extension module of Python", "python", "usr/lib/python3/dist-packages/numpy/core/_multiarray_umath.so"},
		{"an extension module of Python", "python", "usr/local/lib/python3.12/site-packages/numpy.libs/libopenblas64_.so"},
		{"an extension module of Python", "python", "app/_speedups.abi3.so"},
		{"an extension module of Python", "python", "usr/local/lib/python3.12/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so"},
		{"an extension of PHP", "php", "usr/lib/php/20220829/redis.so"},
		{"an extension of PHP", "php", "usr/local/lib/php/extensions/no-debug-non-zts-20230831/redis.so"},
		{"a module of nginx", "nginx", "usr/lib/nginx/modules/ngx_stream_module.so"},
		{"a module of Apache", "apache2", "usr/lib/apache2/modules/mod_ssl.so"},
		{"a module of PostgreSQL", "postgres", "usr/lib/postgresql/15/lib/postgis-3.so"},
		{"a module of Redis", "redis-server", "usr/lib/redis/modules/redisearch.so"},
		{"a plug-in of MariaDB or MySQL", "mariadbd", "usr/lib/mysql/plugin/ha_rocksdb.so"},
		{"a module of Perl", "perl", "usr/local/lib/perl5/site_perl/5.36/auto/DBI/DBI.so"},
		{"an extension of Ruby", "ruby", "usr/local/bundle/gems/nokogiri-1.15/lib/nokogiri/nokogiri.so"},
		{"a native library of an Erlang application", "erl", "app/lib/crypto_nif-1.0/priv/nif.so"},
		{"a library of an R package", "R", "usr/lib/R/site-library/Rcpp/libs/Rcpp.so"},
		{"a part of the .NET runtime", "dotnet", "usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so"},
	} {
		cases = append(cases, bad("foreign "+tt.path, wrongArch, "/"+tt.path, "entrypoint → /usr/bin/"+tt.runtime+" → "+tt.kind+" → /"+tt.path,
			arm64(started{entrypoint: words(tt.runtime + " /app/main")}, bin("usr/bin/"+tt.runtime, own), data(tt.path, badLib))))
	}
	return append(cases,
		bad("module of a runtime that is not seen", wrongArch, "/app/addon.node", "a native module of Node.js → /app/addon.node", arm64(started{entrypoint: words("/hello")}, bin("hello", own), data("app/addon.node", badLib))),
		bad("counterpart that is foreign too", wrongArch, "/app/node_modules/@x/y-linux-x64/y.node", "", arm64(started{entrypoint: words("/hello")}, bin("hello", own), data("app/node_modules/@x/y-linux-x64/y.node", badLib), data("app/node_modules/@x/y-linux-arm64/y.node", badLib))),
		bad("library in a directory of ld.so.conf", wrongArch, "/opt/vendor/lib/libv.so", "", arm64(started{entrypoint: words("/hello")}, bin("hello", own), data("opt/vendor/lib/libv.so", badLib), text("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n"), text("etc/ld.so.conf.d/v.conf", "# vendor\n/opt/vendor/lib\n"))),
		bad("library in a directory of LD_LIBRARY_PATH", wrongArch, "/opt/vendor/lib/libv.so", "", arm64(started{entrypoint: words("/hello"), env: []string{"LD_LIBRARY_PATH=/opt/vendor/lib"}}, bin("hello", own), data("opt/vendor/lib/libv.so", badLib))),
		bad("386 rootfs as amd64", wrongArch, "/hello", "entrypoint → /hello", func(k *kit) string {
			return k.one(image{platform: "linux/amd64", config: started{entrypoint: words("/hello")}.config(), layers: []layer{files(k.t, bin("hello", elftest.Make(elftest.File{Arch: "386"})))}})
		}),
	)
}
