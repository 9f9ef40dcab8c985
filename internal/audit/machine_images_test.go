package audit_test

import (
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/rootfs/elftest"
)

// versioned is a program of arm64 that needs versions of symbols.
func versioned(lib string, versions ...string) []byte {
	return elftest.Make(elftest.File{Arch: "arm64", Interp: elftest.Loaders["arm64"], Needed: []string{"libc.so.6", lib}, Wants: map[string][]string{lib: versions}})
}

func asUser(user string, more ...file) func(k *kit) string {
	return arm64(started{entrypoint: words("/srv/app"), user: user}, more...)
}

// owned gives a file its owner.
func owned(f file, uid, gid int, mode int64) file {
	f.uid, f.gid, f.mode = uid, gid, mode
	return f
}

// brokenMachines are images that need what the machine, the C library, the user
// or the registry does not give.
func brokenMachines() []corpusCase {
	app := started{entrypoint: words("/srv/app")}
	const lib = "usr/lib/aarch64-linux-gnu/"
	direct := "entrypoint → /srv/app → DT_NEEDED "
	libc := lib + "libc.so.6"
	cases := []corpusCase{
		bad("library nowhere", "library-missing", "/srv/app", direct+"libpq.so.5", arm64(app, bin("srv/app", linked("libc.so.6", "libpq.so.5")))),
		bad("library of another machine alone", "library-missing", "/srv/app", direct+"libpq.so.5", arm64(app, bin("srv/app", linked("libc.so.6", "libpq.so.5")), data("usr/lib/x86_64-linux-gnu/libpq.so.5", badLib))),
		bad("library a link to nothing", "library-missing", "/srv/app", direct+"libpq.so.5", arm64(app, bin("srv/app", linked("libpq.so.5")), symlink(lib+"libpq.so.5", "libpq.so.5.17"))),
		bad("library of a library", "library-missing", "/"+lib+"libpq.so.5", direct+"libpq.so.5 → /"+lib+"libpq.so.5 → DT_NEEDED libssl.so.3", arm64(app, bin("srv/app", linked("libpq.so.5")), data(lib+"libpq.so.5", elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libssl.so.3"}})))),
		bad("library where the loader does not look", "library-missing", "/srv/app", direct+"libx.so.1", arm64(app, bin("srv/app", linked("libx.so.1")), data("opt/x/lib/libx.so.1", ownLib))),
		bad("library of another class", "library-missing", "/srv/app", direct+"libx.so.1", arm64(app, bin("srv/app", linked("libx.so.1")), data(lib+"libx.so.1", elftest.Make(elftest.File{Arch: "arm"})))),
		bad("foreign library by RUNPATH", "library-missing", "/srv/app", direct+"libx.so.1", arm64(app, bin("srv/app", elftest.Make(elftest.File{Arch: "arm64", Interp: elftest.Loaders["arm64"], Needed: []string{"libx.so.1"}, RunPath: "$ORIGIN/lib"})), data("srv/lib/libx.so.1", badLib))),
		bad("library of musl's loader missing", "library-missing", "/srv/app", direct+"libz.so.1", func(k *kit) string {
			return k.one(image{platform: "linux/arm64", config: app.config(), layers: []layer{files(k.t, append(alpine(), bin("srv/app", elftest.Make(elftest.File{Arch: "arm64", Interp: "/lib/ld-musl-aarch64.so.1", Needed: []string{"libc.musl-aarch64.so.1", "libz.so.1"}})))...)}})
		}),
		bad("library that gcompat has not", "library-missing", "/srv/app", direct+"libstdc++.so.6", func(k *kit) string {
			return k.one(image{platform: "linux/arm64", config: app.config(), layers: []layer{files(k.t, append(gcompat(), bin("srv/app", linked("libc.so.6", "libpthread.so.0", "libstdc++.so.6")))...)}})
		}),
		bad("newer C library", "libc-version", "/srv/app", direct+"libc.so.6 → /"+libc, arm64(app, bin("srv/app", versioned("libc.so.6", "GLIBC_2.17", "GLIBC_2.38")))),
		bad("newer C library in PATH", "libc-version", "/usr/local/bin/tool", "PATH directory /usr/local/bin → /usr/local/bin/tool → DT_NEEDED libc.so.6 → /"+libc, arm64(app, bin("srv/app", own), bin("usr/local/bin/tool", versioned("libc.so.6", "GLIBC_2.38")))),
		bad("newer C++ library", "libc-version", "/srv/app", direct+"libstdc++.so.6 → /"+lib+"libstdc++.so.6", arm64(app, bin("srv/app", versioned("libstdc++.so.6", "GLIBCXX_3.4.32", "CXXABI_1.3.15")), data(lib+"libstdc++.so.6", elftest.Make(elftest.File{Arch: "arm64", Defines: []string{"GLIBCXX_3.4", "GLIBCXX_3.4.30", "CXXABI_1.3.13"}})))),
		bad("library that needs a newer C library", "libc-version", "/"+lib+"libx.so.1", direct+"libx.so.1 → /"+lib+"libx.so.1 → DT_NEEDED libc.so.6 → /"+libc, arm64(app, bin("srv/app", linked("libc.so.6", "libx.so.1")), data(lib+"libx.so.1", elftest.Make(elftest.File{Arch: "arm64", Needed: []string{"libc.so.6"}, Wants: map[string][]string{"libc.so.6": {"GLIBC_2.39"}}})))),
		bad("relocations that the loader does not know", "libc-version", "/srv/app", "", arm64(app, bin("srv/app", versioned("libc.so.6", "GLIBC_ABI_DT_RELR")))),
		bad("pages of 4 KiB", "page-size", "/srv/app", "entrypoint → /srv/app", arm64(app, bin("srv/app", elftest.Make(elftest.File{Arch: "arm64", Page: 4096})))),
		bad("library for pages of 4 KiB", "page-size", "/"+lib+"libx.so.1", direct+"libx.so.1 → /"+lib+"libx.so.1", arm64(app, bin("srv/app", linked("libx.so.1")), data(lib+"libx.so.1", elftest.Make(elftest.File{Arch: "arm64", Page: 4096})))),
		{name: "pages of 16 KiB where 64 are meant", id: "page-size", severity: audit.Error, path: "/srv/app", options: audit.Options{PageSizes: map[string]uint64{"linux/arm64": 64 << 10}},
			make: arm64(app, bin("srv/app", elftest.Make(elftest.File{Arch: "arm64", Page: 16384})))},
		{name: "pages of 4 KiB on ppc64le", id: "page-size", severity: audit.Error, path: "/srv/app", make: func(k *kit) string {
			return k.one(image{platform: "linux/ppc64le", config: app.config(), layers: []layer{files(k.t, bin("srv/app", elftest.Make(elftest.File{Arch: "ppc64le", Page: 4096})))}})
		}},
		{name: "program in PATH for pages of 4 KiB", id: "page-size", severity: audit.Warning, path: "/usr/bin/tool", make: arm64(app, bin("srv/app", own), bin("usr/bin/tool", elftest.Make(elftest.File{Arch: "arm64", Page: 4096})))},
		bad("C compiled for pages of 4 KiB", "page-size", "/hello", "entrypoint → /hello", func(k *kit) string {
			return k.wrong("linux/arm64", k.c.C(k.t, "aarch64-linux-gnu-gcc", "data.c", "-nostdlib", "-static", "-Wl,-z,max-page-size=4096"))
		}),
		bad("atomics of ARMv8.1", "cpu-level", "/hello", "entrypoint → /hello", func(k *kit) string {
			return k.wrong("linux/arm64", k.c.C(k.t, "aarch64-linux-gnu-gcc", "atomic.c", "-static", "-O2", "-march=armv8.1-a"))
		}),
		bad("user may not execute it", "entrypoint-not-executable", "/srv/app", "entrypoint → /srv/app", asUser("65534", owned(bin("srv/app", own), 0, 0, 0o744))),
		bad("group may not execute it", "entrypoint-not-executable", "/srv/app", "entrypoint → /srv/app", asUser("app", owned(bin("srv/app", own), 0, 1000, 0o705))),
		bad("directory that the user may not enter", "entrypoint-not-executable", "/srv/app", "entrypoint → /srv/app", asUser("1000:1000", owned(dir("srv"), 0, 0, 0o700), bin("srv/app", own))),
		bad("script that the user may not read", "entrypoint-not-executable", "/srv/app", "entrypoint → /srv/app", asUser("app", owned(script("srv/app", "#!/bin/sh\ntrue\n"), 0, 0, 0o711))),
		bad("program of gosu's user", "entrypoint-not-executable", "/srv/app", "entrypoint → /run → #! line → /bin/sh → /usr/bin/dash → line 2 → /usr/bin/gosu → /srv/app", arm64(started{entrypoint: words("/run")}, run("exec gosu app /srv/app"), bin("usr/bin/gosu", own), owned(bin("srv/app", own), 0, 0, 0o700))),
		bad("group that does not exist", "user-missing", "/etc/group", "", asUser("app:staff", bin("srv/app", own))),
		bad("user that does not exist", "user-missing", "/etc/passwd", "", asUser("nobody:app", bin("srv/app", own))),
		bad("layer of bytes", "layer-unread", "", "", func(k *kit) string {
			raw := tarOf(k.t, bin("app", foreign))
			return k.one(image{platform: "linux/arm64", config: entry("/app"), layers: []layer{{tar: raw, blob: raw, mediaType: "application/octet-stream"}}})
		}),
		bad("layer that is elsewhere", "layer-unread", "", "", func(k *kit) string {
			return k.one(image{platform: "linux/arm64", config: entry("/app"), layers: []layer{{tar: tarOf(k.t, text("elsewhere", k.path)), absent: true, mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls: []string{"https://example.com/l"}}}})
		}),
		bad("foreign program in a layer that is said to be elsewhere", wrongArch, "/app", "entrypoint → /app", func(k *kit) string {
			l := files(k.t, bin("app", foreign))
			l.mediaType = ocispecs.MediaTypeImageLayerNonDistributableGzip //nolint:staticcheck // published images have them
			return k.one(image{platform: "linux/arm64", config: entry("/app"), layers: []layer{l}})
		}),
		bad("variant of s390x", "platform-unknown", "", "", func(k *kit) string {
			i := image{platform: "linux/s390x", config: entry("/app"), layers: []layer{files(k.t, bin("app", elftest.Make(elftest.File{Arch: "s390x"})))}}
			i.configPlatform = &ocispecs.Platform{OS: "linux", Architecture: "s390x", Variant: "v8"}
			return k.index(withPlatform(k.push(i), i.configPlatform))
		}),
	}
	cases = append(cases, corpusCase{name: "base compiled for x86-64-v3", id: "elf-level", severity: audit.Warning, path: "/usr/lib/os-release", chain: "entrypoint → /app → loader /lib64/ld-linux-x86-64.so.2", make: func(k *kit) string {
		return k.one(image{platform: "linux/amd64", config: entry("/app"), layers: []layer{files(k.t,
			bin("app", elftest.Make(elftest.File{Arch: "amd64", Interp: elftest.Loaders["amd64"]})), bin("lib64/ld-linux-x86-64.so.2", foreign),
			text("usr/lib/os-release", "ID=\"rhel\"\nVERSION_ID=\"10.0\"\n"), symlink("etc/os-release", "../usr/lib/os-release"))}})
	}})
	for _, tt := range []struct{ platform, setting, id string }{{"linux/riscv64", "GORISCV64=rva22u64", "elf-level"}, {"linux/ppc64le", "GOPPC64=power9", "elf-level"}} {
		cases = append(cases, bad(tt.setting, tt.id, "/hello", "entrypoint → /hello", func(k *kit) string { return k.wrong(tt.platform, k.c.Go(k.t, tt.platform, tt.setting)) }))
	}
	cases = append(cases, bad("Go amd64 v3 in PATH", "elf-level", "/usr/bin/tool", "PATH directory /usr/bin → /usr/bin/tool", func(k *kit) string {
		return k.one(image{platform: "linux/amd64", config: entry("/hello"), layers: []layer{files(k.t, bin("hello", k.c.Go(k.t, "linux/amd64")), bin("usr/bin/tool", k.c.Go(k.t, "linux/amd64", "GOAMD64=v3")))}})
	}))
	return cases
}

// alpine are the loader and the C library of a system with musl.
func alpine() []file {
	return []file{
		bin("lib/ld-musl-aarch64.so.1", elftest.Make(elftest.File{Arch: "arm64", SoName: "libc.musl-aarch64.so.1"})), symlink("lib/libc.musl-aarch64.so.1", "ld-musl-aarch64.so.1"),
		bin("bin/busybox", elftest.Make(elftest.File{Arch: "arm64", Interp: "/lib/ld-musl-aarch64.so.1", Needed: []string{"libc.musl-aarch64.so.1"}})), symlink("bin/sh", "/bin/busybox"), symlink("usr/bin/env", "/bin/busybox"),
	}
}

// gcompat is Alpine with what starts programs of glibc.
func gcompat() []file {
	return append(alpine(), bin("lib/ld-linux-aarch64.so.1", elftest.Make(elftest.File{Arch: "arm64", Interp: "/lib/ld-musl-aarch64.so.1", Needed: []string{"libc.musl-aarch64.so.1"}})), data("lib/libgcompat.so.0", own))
}
