package audit_test

import (
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
)

// brokenPrograms are images whose files are not what runs there.
func brokenPrograms() []corpusCase {
	const e = audit.Error
	// swapped runs a Go program of one platform in an image of another.
	swapped := func(program, claimed, id string) corpusCase {
		return corpusCase{name: program + " in " + claimed, id: id, severity: e, make: func(k *kit) string {
			return k.wrong(claimed, k.c.Go(k.t, program))
		}}
	}
	compiled := func(name, claimed, id string, compiler string, flags ...string) corpusCase {
		return corpusCase{name: name, id: id, severity: e, make: func(k *kit) string {
			return k.wrong(claimed, k.c.C(k.t, compiler, "bare.c", append([]string{"-nostdlib", "-static"}, flags...)...))
		}}
	}
	// on is an arm64 image with these files and this command.
	on := func(name, id string, config ocispecs.ImageConfig, layers func(k *kit, right, wrong []byte) []layer) corpusCase {
		return corpusCase{name: name, id: id, severity: e, make: func(k *kit) string {
			return k.one(image{platform: "linux/arm64", config: config, layers: layers(k, k.c.Go(k.t, "linux/arm64"), k.c.Go(k.t, "linux/amd64"))})
		}}
	}
	cases := []corpusCase{
		swapped("linux/amd64", "linux/arm64", "elf-architecture"),
		swapped("linux/arm64", "linux/amd64", "elf-architecture"),
		swapped("linux/386", "linux/arm/v7", "elf-architecture"),
		swapped("linux/amd64", "linux/386", "elf-architecture"),
		swapped("linux/arm/v7", "linux/arm64", "elf-architecture"),
		swapped("linux/riscv64", "linux/amd64", "elf-architecture"),
		swapped("linux/s390x", "linux/ppc64le", "elf-architecture"),
		swapped("linux/mips", "linux/mipsle", "elf-architecture"),
		swapped("linux/arm/v7", "linux/arm/v6", "elf-variant"),
		swapped("linux/arm/v6", "linux/arm/v5", "elf-variant"),
		swapped("darwin/arm64", "linux/arm64", "foreign-format"),
		swapped("windows/amd64", "linux/amd64", "foreign-format"),
		swapped("freebsd/amd64", "linux/amd64", "foreign-format"),
		{name: "linux/amd64 in windows/amd64", id: "foreign-format", severity: e, make: func(k *kit) string {
			return k.one(image{platform: "windows/amd64", config: entry(`C:\Hello.exe`), layers: []layer{files(k.t, bin("Files/hello.exe", k.c.Go(k.t, "linux/amd64")))}})
		}},
		{name: "windows/arm64 in windows/amd64", id: "elf-architecture", severity: e, make: func(k *kit) string {
			return k.one(image{platform: "windows/amd64", config: entry("hello"), layers: []layer{files(k.t, bin("Files/hello.exe", k.c.Go(k.t, "windows/arm64")))}})
		}},
		compiled("C amd64 in arm64", "linux/arm64", "elf-architecture", "gcc"),
		compiled("C static-pie amd64 in riscv64", "linux/riscv64", "elf-architecture", "gcc", "-static-pie", "-fPIE"),
		compiled("C arm64 in arm v7", "linux/arm/v7", "elf-architecture", "aarch64-linux-gnu-gcc"),
		compiled("C armhf in v6", "linux/arm/v6", "elf-variant", "arm-linux-gnueabihf-gcc"),
		compiled("C armv7 in v5", "linux/arm/v5", "elf-variant", "arm-linux-gnueabi-gcc", "-march=armv7-a"),
		compiled("C armv6 in v5", "linux/arm/v5", "elf-variant", "arm-linux-gnueabi-gcc", "-march=armv6"),
		compiled("C x86-64-v3 in amd64", "linux/amd64", "elf-level", "gcc", "-Wl,-z,x86-64-v3"),
		{name: "Go amd64 v3 in amd64", id: "elf-level", severity: e, make: func(k *kit) string {
			return k.wrong("linux/amd64", k.c.Go(k.t, "linux/amd64", "GOAMD64=v3"))
		}},
		{name: "Go arm64 v8.2 in arm64", id: "elf-level", severity: e, make: func(k *kit) string {
			return k.wrong("linux/arm64", k.c.Go(k.t, "linux/arm64", "GOARM64=v8.2,lse"))
		}},
		{name: "object file as entrypoint", id: "entrypoint-not-executable", severity: e, make: func(k *kit) string {
			return k.wrong("linux/amd64", k.c.C(k.t, "gcc", "lib.c", "-c"))
		}},
		on("wrong through a link", "elf-architecture", entry("/app"), func(k *kit, _, wrong []byte) []layer {
			return []layer{files(k.t, bin("opt/app/bin/app", wrong), symlink("app", "opt/app/bin/app"))}
		}),
		on("wrong through a hard link", "elf-architecture", entry("/app"), func(k *kit, _, wrong []byte) []layer {
			return []layer{files(k.t, bin("one", wrong)), files(k.t, hardlink("app", "one"))}
		}),
		on("wrong through PATH", "elf-architecture", entry("app"), func(k *kit, _, wrong []byte) []layer {
			return []layer{files(k.t, bin("usr/local/bin/app", wrong))}
		}),
		on("wrong shell of a script", "elf-architecture", entry("/start"), func(k *kit, _, wrong []byte) []layer {
			return []layer{files(k.t, script("start", "#!/bin/sh\necho hi\n"), bin("bin/sh", wrong))}
		}),
		on("wrong behind tini", "elf-architecture", entry("/tini", "--", "/srv/app"), func(k *kit, right, wrong []byte) []layer {
			return []layer{files(k.t, bin("tini", right), bin("srv/app", wrong))}
		}),
		on("wrong behind a script", "elf-architecture", ocispecs.ImageConfig{Entrypoint: []string{"/start"}, Cmd: []string{"app"}}, func(k *kit, right, wrong []byte) []layer {
			return []layer{files(k.t, script("start", "#!/bin/sh\nexec \"$@\"\n"), bin("bin/sh", right), bin("usr/bin/app", wrong))}
		}),
		on("wrong in the shell form", "elf-architecture", ocispecs.ImageConfig{Cmd: []string{"/bin/sh", "-c", "exec /srv/app --flag"}}, func(k *kit, right, wrong []byte) []layer {
			return []layer{files(k.t, bin("bin/sh", right), bin("srv/app", wrong))}
		}),
		on("wrong argument of an entrypoint", "elf-architecture", entry("/init", "/srv/app"), func(k *kit, right, wrong []byte) []layer {
			return []layer{files(k.t, bin("init", right), bin("srv/app", wrong))}
		}),
		on("wrong helper in PATH", "elf-architecture", entry("/app"), func(k *kit, right, wrong []byte) []layer {
			return []layer{files(k.t, bin("app", right), bin("usr/local/bin/helper", wrong))}
		}),
		on("all wrong and no entrypoint", "elf-architecture", ocispecs.ImageConfig{}, func(k *kit, _, wrong []byte) []layer {
			return []layer{files(k.t, bin("opt/tool", wrong))}
		}),
		on("right replaced by wrong", "elf-architecture", entry("/app"), func(k *kit, right, wrong []byte) []layer {
			return []layer{files(k.t, bin("app", right)), files(k.t, bin("app", wrong))}
		}),
		on("wrong in a zstd layer", "elf-architecture", entry("/app"), func(k *kit, _, wrong []byte) []layer {
			raw := tarOf(k.t, bin("app", wrong))
			return []layer{{tar: raw, blob: zstded(k.t, raw), mediaType: ocispecs.MediaTypeImageLayerZstd}}
		}),
		on("wrong library", "elf-architecture", entry("/app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, bin("app", right), data("usr/lib/libanswer.so.1", k.c.C(k.t, "gcc", "lib.c", "-shared", "-fPIC")))}
		}),
		on("entrypoint not there", "entrypoint-missing", entry("/app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, bin("ap", right))}
		}),
		on("entrypoint in none of PATH", "entrypoint-missing", entry("app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, bin("opt/app", right))}
		}),
		on("entrypoint deleted by a whiteout", "entrypoint-missing", entry("/srv/app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, bin("srv/app", right)), files(k.t, whiteout("srv/.wh.app"))}
		}),
		on("entrypoint hidden by an opaque directory", "entrypoint-missing", entry("/srv/app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, bin("srv/app", right)), files(k.t, dir("srv"), text("srv/new", "n"), whiteout("srv/.wh..wh..opq"))}
		}),
		on("entrypoint a link to nothing", "entrypoint-missing", entry("/app"), func(k *kit, _, _ []byte) []layer {
			return []layer{files(k.t, symlink("app", "/opt/app-1.2/app"))}
		}),
		on("entrypoint a circle of links", "entrypoint-missing", entry("/app"), func(k *kit, _, _ []byte) []layer {
			return []layer{files(k.t, symlink("app", "b"), symlink("b", "app"))}
		}),
		on("behind tini not there", "entrypoint-missing", entry("/tini", "--", "app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, bin("tini", right))}
		}),
		on("no execute bit", "entrypoint-not-executable", entry("/app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, data("app", right))}
		}),
		on("entrypoint a directory", "entrypoint-not-executable", entry("/app"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, dir("app"), bin("app/app", right))}
		}),
		on("script without a first line", "entrypoint-not-executable", entry("/start"), func(k *kit, _, _ []byte) []layer {
			return []layer{files(k.t, script("start", "set -e\nexec app\n"))}
		}),
		on("script with Windows line ends", "script-interpreter", entry("/start"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, script("start", "#!/bin/sh\r\necho hi\r\n"), bin("bin/sh", right))}
		}),
		on("script without its interpreter", "script-interpreter", entry("/start"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, script("start", "#!/bin/bash\necho hi\n"), bin("bin/sh", right))}
		}),
		on("script of env without its interpreter", "script-interpreter", entry("/start"), func(k *kit, right, _ []byte) []layer {
			return []layer{files(k.t, script("start", "#!/usr/bin/env python3\n"), bin("usr/bin/env", right))}
		}),
		{name: "glibc program in scratch", id: "interpreter-missing", severity: e, make: func(k *kit) string {
			return k.wrong("linux/amd64", k.c.C(k.t, "gcc", "hello.c"))
		}},
		{name: "armhf program in an armel image", id: "interpreter-missing", severity: e, make: func(k *kit) string {
			i := image{platform: "linux/arm/v7", config: entry("/hello"), layers: []layer{files(k.t,
				bin("hello", k.c.C(k.t, "arm-linux-gnueabihf-gcc", "hello.c")),
				bin("lib/ld-linux.so.3", k.c.C(k.t, "arm-linux-gnueabi-gcc", "lib.c", "-shared", "-fPIC")))}}
			return k.one(i)
		}},
		{name: "glibc program beside musl", id: "interpreter-missing", severity: e, make: func(k *kit) string {
			return k.one(image{platform: "linux/amd64", config: entry("/hello"), layers: []layer{files(k.t,
				bin("hello", k.c.C(k.t, "gcc", "hello.c")),
				bin("lib/ld-musl-x86_64.so.1", k.c.C(k.t, "gcc", "lib.c", "-shared", "-fPIC")))}})
		}},
		{name: "library not there", id: "library-missing", severity: e, make: func(k *kit) string {
			lib := k.c.C(k.t, "gcc", "lib.c", "-shared", "-fPIC")
			return k.one(image{platform: "linux/amd64", config: entry("/hello"), layers: []layer{files(k.t,
				bin("hello", k.c.C(k.t, "gcc", "hello.c")), bin("lib64/ld-linux-x86-64.so.2", lib))}})
		}},
		{name: "loader of another architecture", id: "elf-architecture", severity: e, make: func(k *kit) string {
			return k.one(image{platform: "linux/amd64", config: entry("/hello"), layers: []layer{files(k.t,
				bin("hello", k.c.C(k.t, "gcc", "hello.c")),
				bin("lib64/ld-linux-x86-64.so.2", k.c.C(k.t, "aarch64-linux-gnu-gcc", "lib.c", "-shared", "-fPIC")))}})
		}},
	}
	return cases
}
