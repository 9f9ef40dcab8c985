package audit_test

import (
	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/rootfs/elftest"
)

// soundReach are images that look as if something were wrong with them.
func soundReach() []corpusCase {
	hello := started{entrypoint: words("/hello")}
	entry := started{entrypoint: words("/run")}
	mine := bin("hello", own)
	const lib = "usr/lib/aarch64-linux-gnu/"
	bare := elftest.Make(elftest.File{Arch: "avr"})
	macho := []byte("\xcf\xfa\xed\xfe\x0c\x00\x00\x01\x00\x00\x00\x00\x06\x00\x00\x00" + "................................................")
	platform := func(name, platform string, s started, f ...file) corpusCase {
		return good(name, func(k *kit) string {
			return k.one(image{platform: platform, config: s.config(), layers: []layer{files(k.t, f...)}})
		})
	}
	x86 := func(name string, s started, f ...file) corpusCase { return platform(name, "linux/amd64", s, f...) }
	cases := []corpusCase{
		good("script whose command is data", arm64(started{entrypoint: words("/run"), cmd: words("/data.txt")}, run(`exec cat "$1"`), text("data.txt", "text\n"))),
		good("script whose command is a Windows program", arm64(started{entrypoint: words("wine"), cmd: words("/setup.exe")}, script("usr/bin/wine", "#!/bin/sh\nexec cat\n"), data("setup.exe", []byte("MZ")))),
		good("subcommand of a script", arm64(started{entrypoint: words("/run"), cmd: words("serve")}, run(`case "$1" in serve) exec cat ;; esac`))),
		good("command after options are added", arm64(started{entrypoint: words("/run"), cmd: words("--verbose")}, run(`if [ "${1#-}" != "$1" ]; then`, `  set -- cat "$@"`, "fi", `exec "$@"`))),
		good("emulator and its program", arm64(started{entrypoint: words("qemu-x86_64 /app/server")}, bin("usr/bin/qemu-x86_64", own), bin("app/server", foreign))).warns("elf-architecture"),
		good("program by the machine's name", arm64(entry, run(`exec /app/server-$(uname -m)`), bin("app/server-aarch64", own), bin("app/server-x86_64", foreign))),
		good("program by Debian's name", arm64(entry, run(`ARCH="$(dpkg --print-architecture)"`, `exec "/app/server-${ARCH##*-}"`), bin("app/server-arm64", own), bin("app/server-amd64", foreign))),
		good("case of machines", arm64(entry, run(`case "$(uname -m)" in`, "x86_64) exec /opt/a/server ;;", "aarch64) exec /opt/b/server ;;", "esac"), bin("opt/a/server", foreign), bin("opt/b/server", own))).warns("elf-architecture"),
		good("if of machines", arm64(entry, run(`if [ "$(uname -m)" = x86_64 ]; then exec /opt/server-amd64; fi`, "exec /opt/server-arm64"), bin("opt/server-amd64", foreign), bin("opt/server-arm64", own))),
		good("machine that is not known to be tested", arm64(entry, run(`M=$(uname -m | sed s/x86_64/amd64/)`, `case $M in amd64) exec /opt/server-amd64;; *) exec /opt/server-arm64;; esac`), bin("opt/server-amd64", foreign), bin("opt/server-arm64", own))),
		good("tool that is used if it is there", arm64(entry, run("command -v nvidia-smi >/dev/null && nvidia-smi", "which foo && exec foo", "exec cat"))),
		good("program in a volume", arm64(entry, run(`if [ -x /config/start ]; then exec /config/start; fi`, "exec cat"))),
		good("commands of the shell", arm64(entry, run("set -e", "umask 022", "ulimit -n 1024", "trap 'kill 0' TERM", "[ -t 0 ] && echo tty", "exec cat"))),
		good("program that is downloaded first", arm64(entry, run("curl -fsSL https://example.com/x.tgz | tar xz -C /opt", "exec /opt/x/bin/start"))).warns("entrypoint-missing"),
		good("env -S with options", arm64(entry, script("run", "#!/usr/bin/env -S -u LD_PRELOAD A=1 bash -e\ntrue\n"))),
		good("first line with a tab and an option", arm64(entry, script("run", "#!\t/bin/sh  -e \ntrue\n"))),
		good("script that does not parse", arm64(entry, run("if then ((", "cat"))),
		good("a relative interpreter of busybox", platform("", "linux/arm64", started{cmd: words("sh -c true")}, alpine()...).make),
		good("s6-overlay", arm64(started{entrypoint: words("/init")}, script("init", "#!/bin/sh -e\nexec s6-overlay-suexec\n"), bin("package/admin/s6/command/s6-overlay-suexec", own), symlink("command/s6-overlay-suexec", "../package/admin/s6/command/s6-overlay-suexec"))),
		good("supervisord", arm64(started{entrypoint: words("supervisord")}, bin("usr/bin/supervisord", own), text("etc/supervisord.conf", "[program:web]\ncommand=cat /x\n[program:off]\nautostart=false\ncommand=/config/later\n"))),
		good("shell in a loop of scripts", arm64(entry, run("exec /run"))),
		good("re-executed as another user", arm64(started{entrypoint: words("/run"), cmd: words("cat")}, run(`if [ "$(id -u)" = 0 ]; then exec gosu app "$0" "$@"; fi`, `exec "$@"`), bin("usr/bin/gosu", own))),
		good("RUNPATH with $ORIGIN", arm64(started{entrypoint: words("/opt/x/bin/app")}, bin("opt/x/bin/app", elftest.Make(elftest.File{Arch: "arm64", Interp: elftest.Loaders["arm64"], Needed: []string{"libx.so.1"}, RunPath: "$ORIGIN/../lib"})), data("opt/x/lib/libx.so.1", ownLib))),
		good("RPATH of the program for a library's library", arm64(started{entrypoint: words("/opt/x/bin/app")}, bin("opt/x/bin/app", elftest.Make(elftest.File{Arch: "arm64", Interp: elftest.Loaders["arm64"], Needed: []string{"libx.so.1"}, RPath: "/opt/x/lib"})), data("opt/x/lib/libx.so.1", elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"liby.so.1"}})), data("opt/x/lib/liby.so.1", own))),
		good("library by ld.so.conf", arm64(hello, bin("hello", linked("libx.so.1")), text("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n"), text("etc/ld.so.conf.d/x.conf", "/opt/x/lib\n"), data("opt/x/lib/libx.so.1", ownLib))),
		good("library by LD_LIBRARY_PATH", arm64(started{entrypoint: words("/hello"), env: []string{"LD_LIBRARY_PATH=/opt/x/lib:/opt/y"}}, bin("hello", linked("libx.so.1")), data("opt/x/lib/libx.so.1", ownLib))),
		good("library by LD_LIBRARY_PATH of a script", arm64(entry, run(`export LD_LIBRARY_PATH=/opt/x/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}`, "exec /hello"), bin("hello", linked("libx.so.1")), data("opt/x/lib/libx.so.1", ownLib))),
		good("library by its own name", arm64(hello, bin("hello", linked("libx.so.1", "liby.so.1")), data(lib+"libx.so.1", elftest.Make(elftest.File{Arch: "arm64", SoName: "libx.so.1", Needed: []string{"liby.so.1"}})), data(lib+"liby.so.1", own))),
		good("foreign library in front of the right one", arm64(started{entrypoint: words("/hello"), env: []string{"LD_LIBRARY_PATH=/opt/x"}}, bin("hello", linked("libc.so.6")))),
		good("ld.so.conf that includes itself", arm64(hello, mine, text("etc/ld.so.conf", "include /etc/ld.so.conf\ninclude /etc/ld.so.conf.d/*.conf\n"), text("etc/ld.so.conf.d/a.conf", "include /etc/ld.so.conf\n"))),
		good("libraries of another machine in ld.so.conf", arm64(hello, mine, text("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n"), text("etc/ld.so.conf.d/x86_64-linux-gnu.conf", "/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n"), data("usr/lib/x86_64-linux-gnu/libz.so.1", badLib))),
		good("versions that the library has", arm64(hello, bin("hello", versioned("libc.so.6", "GLIBC_2.17", "GLIBC_2.34")))),
		good("library without versions", arm64(hello, bin("hello", versioned("libx.so.1", "X_2")), data(lib+"libx.so.1", own))),
		good("graphics driver of the host", arm64(hello, bin("hello", linked("libc.so.6", "libcuda.so.1")))),
		platform("gcompat", "linux/arm64", started{entrypoint: words("/app")}, append(gcompat(), bin("app", linked("libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1")))...),
		platform("libc6-compat as a link", "linux/arm64", started{entrypoint: words("/app")}, append(alpine(), symlink("lib/ld-linux-aarch64.so.1", "libc.musl-aarch64.so.1"), bin("app", linked("libc.so.6", "libdl.so.2")))...),
		platform("musl with a path of its own", "linux/arm64", started{entrypoint: words("/app")}, append(alpine(), text("etc/ld-musl-aarch64.path", "/opt/lib\n/lib\n"), data("opt/lib/libx.so", own), bin("app", elftest.Make(elftest.File{Arch: "arm64", Interp: "/lib/ld-musl-aarch64.so.1", Needed: []string{"libx.so", "libc.musl-aarch64.so.1"}})))...),
		good("pages of 16 KiB", arm64(hello, bin("hello", elftest.Make(elftest.File{Arch: "arm64", Page: 16384})))),
		{name: "pages of 4 KiB where they are meant", options: audit.Options{PageSizes: map[string]uint64{"linux/arm64": 4096}}, make: arm64(hello, bin("hello", elftest.Make(elftest.File{Arch: "arm64", Page: 4096})))},
		x86("pages of 4 KiB on amd64", hello, bin("hello", elftest.Make(elftest.File{Arch: "amd64", Page: 4096}))),
		good("program of a group of the user", asUser("app", owned(bin("srv/app", own), 0, 50, 0o750))),
		good("program of its own user", asUser("1000", owned(bin("srv/app", own), 1000, 1000, 0o500))),
		good("program of root alone, run by root", asUser("root", owned(bin("srv/app", own), 1000, 1000, 0o100))),
		good("group by its number", asUser("app:4242", bin("srv/app", own))),
		platform("libraries for amd64 in a 386 image", "linux/386", hello, bin("hello", elftest.Make(elftest.File{Arch: "386"})), data("usr/lib64/libm.so.6", badLib), data("lib64/libc.so.6", badLib), data("usr/libx32/libc.so.6", badLib)),
		x86("a 32-bit program that is started", hello, bin("hello", elftest.Make(elftest.File{Arch: "386"})), bin("usr/bin/other", foreign)).warns("elf-architecture"),
		good("emulators of QEMU", arm64(hello, mine, bin("usr/bin/qemu-aarch64-static", foreign), bin("usr/local/bin/qemu-arm", foreign))),
		good("firmware, boot loaders and kernels", arm64(hello, mine, data("usr/lib/firmware/a.elf", foreign), data("usr/lib/u-boot/malta/uboot.elf", elftest.Make(elftest.File{Arch: "mipsle"})), data("usr/lib/debian-installer/images/linux", efi()), data("usr/lib/shim/shimx64.efi.signed", efi()), data("srv/boot/vesamenu.c32", badLib), data("boot/vmlinuz", efi()), data("opt/x/fwupdx64", efi()))),
		good("code of microcontrollers and BPF", arm64(hello, mine, data("srv/sketch.elf", bare), data("srv/trace.bpf", elftest.Make(elftest.File{Arch: "bpf"})))),
	}
	// Packages for several platforms.
	for _, tt := range []struct {
		name  string
		files []file
	}{
		{"Node's prebuilds", []file{data("m/prebuilds/linux-x64/x.node", badLib), data("m/prebuilds/linux-arm64/x.node", ownLib), data("m/prebuilds/darwin-x64+arm64/x.node", macho), data("m/prebuilds/ios-arm64/x.bare", macho)}},
		{"npm's platform packages", []file{data("n/node_modules/@img/sharp-linux-x64/x.node", badLib), data("n/node_modules/@img/sharp-linux-arm64/x.node", ownLib), data("n/node_modules/@img/sharp-linuxmusl-x64/x.node", badLib)}},
		{"names in one word", []file{data("m/linuxarm64/x.node", ownLib), data("m/linux64/x.node", badLib), data("m/darwinarm64/x", macho)}},
		{"the other one named by its system alone", []file{data("m/linux/x.node", badLib), data("m/linuxarm64/x.node", ownLib)}},
		{".NET's runtimes", []file{data("r/runtimes/linux-mips64/native/libe.so", elftest.Make(elftest.File{Arch: "mips64le"})), data("r/runtimes/linux-arm64/native/libe.so", ownLib), data("r/runtimes/linux-musl-s390x/native/libe.so", elftest.Make(elftest.File{Arch: "s390x"})), data("r/runtimes/alpine-x64/native/libe.so", badLib), data("r/runtimes/osx-arm64/native/libe.dylib", macho)}},
		{"Android's ABIs", []file{data("j/lib/armeabi-v7a/libx.so", elftest.Make(elftest.File{Arch: "arm"})), data("j/lib/arm64-v8a/libx.so", ownLib), data("j/lib/x86_64/libx.so", badLib), data("j/lib/x86/libx.so", elftest.Make(elftest.File{Arch: "386"}))}},
		{"Netty", []file{data("META-INF/native/libnetty_x86_64.so", badLib), data("META-INF/native/libnetty_aarch_64.so", ownLib)}},
		{"Python's tags", []file{data("p/site-packages/x.cpython-312-x86_64-linux-gnu.so", badLib), data("p/site-packages/x.cpython-312-aarch64-linux-gnu.so", ownLib)}},
		{"Rust's triples", []file{data("t/x86_64-unknown-linux-musl/tool", foreign), data("t/aarch64-unknown-linux-musl/tool", own)}},
		{"goreleaser's names", []file{data("d/dist/app_linux_amd64_v1/app", foreign), data("d/dist/app_linux_arm64_v8.0/app", own)}},
		{"downloads in PATH", []file{bin("usr/local/bin/agent-amd64", foreign), bin("usr/local/bin/agent-arm64", own), bin("usr/local/bin/agent", own)}},
		{"test data of packages", []file{data("node_modules/x/test/fixtures/a.node", badLib), data("usr/lib/python3/dist-packages/x/tests/data/a.so", badLib)}},
		{"a cross toolchain", []file{data("usr/x86_64-linux-gnu/lib/libc.so.6", badLib), data("usr/lib/gcc-cross/x86_64-linux-gnu/12/libgcc_s.so.1", badLib), data("usr/lib/x86_64-linux-gnu/perl/5.36/auto/POSIX/POSIX.so", badLib)}},
	} {
		cases = append(cases, good(tt.name, arm64(hello, append(tt.files, mine)...)))
	}
	return append(cases,
		good("a package that has no prebuild for this one", arm64(hello, mine, data("m/prebuilds/linux-x64/x.node", badLib), data("m/prebuilds/darwin-x64/x.node", macho), data("m/prebuilds/win32-x64/x.node", []byte("MZ")))).warns("elf-architecture"),
		good("a prebuild under the wrong name", arm64(hello, mine, data("m/prebuilds/linux-x64/x.node", badLib), data("m/prebuilds/linux-arm64/x.node", badLib))).warns("elf-architecture"),
		good("a plug-in of another machine", arm64(hello, mine, bin("plugins/aws/linux_amd64/provider", foreign))).warns("elf-architecture"),
		good("a Java runtime that nothing starts", arm64(hello, mine, bin("opt/jdk/bin/java", foreign), data("opt/jdk/lib/server/libjvm.so", badLib), text("opt/jdk/release", "x"))).warns("elf-architecture"),
	)
}

// warns says that a check may warn of a sound image.
func (c corpusCase) warns(ids ...string) corpusCase {
	c.warned = append(c.warned, ids...)
	return c
}

// efi is a program that firmware starts, for amd64.
func efi() []byte {
	raw := make([]byte, 512)
	copy(raw, "MZ")
	raw[60] = 128
	copy(raw[128:], "PE\x00\x00\x64\x86")
	raw[128+24], raw[128+25] = 0x0b, 0x02
	raw[128+24+68] = 10
	return raw
}
