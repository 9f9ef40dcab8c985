package audit_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
)

func soundImages() []corpusCase {
	return append(soundGraphs(), append(soundFiles(), append(soundReach(), append(append(soundNamed(), soundPlaced()...), soundEntrypoints()...)...)...)...)
}

// busybox is an image of one program with many names, as busybox is.
func (k *kit) busybox(platform string, link func(name, to string) file) image {
	entries := []file{bin("bin/busybox", k.c.Go(k.t, platform))}
	for _, name := range strings.Fields("sh ls cat cp mv rm env grep sed awk vi tar gzip wget") {
		to := "/bin/busybox"
		entries = append(entries, link("bin/"+name, to))
	}
	entries = append(entries, text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n"))
	return image{platform: platform, config: ocispecs.ImageConfig{Cmd: []string{"sh"}, User: "www-data"}, layers: []layer{files(k.t, entries...)}}
}

func soundGraphs() []corpusCase {
	graph := func(name string, make func(k *kit) string) corpusCase { return corpusCase{name: name, make: make} }
	windows := func(k *kit, version string) []ocispecs.Descriptor {
		i := image{platform: "windows/amd64", config: ocispecs.ImageConfig{Entrypoint: []string{`C:\hello.exe`}}, layers: []layer{
			{tar: tarOf(k.t), absent: true, mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls: []string{"https://mcr.microsoft.com/v2/windows/nanoserver/blobs/x"}},
			files(k.t, dir("Files"), dir("Hives"), bin("Files/hello.exe", k.c.Go(k.t, "windows/amd64"))),
		}, edit: func(c *ocispecs.Image) { c.OSVersion = version }}
		d := k.push(i)
		d[0].Platform.OSVersion = version
		return d
	}
	return []corpusCase{
		graph("four platforms of Go", func(k *kit) string {
			return k.index(k.push(k.goImage("linux/amd64")), k.push(k.goImage("linux/arm64")), k.push(k.goImage("linux/arm/v7")), k.push(k.goImage("linux/arm/v6")))
		}),
		graph("busybox for four architectures", func(k *kit) string {
			return k.index(k.push(k.busybox("linux/amd64", symlink)), k.push(k.busybox("linux/arm64", hardlink)), k.push(k.busybox("linux/arm/v7", symlink)), k.push(k.busybox("linux/riscv64", hardlink)))
		}),
		graph("busybox of old machines", func(k *kit) string {
			return k.index(k.push(k.busybox("linux/386", hardlink)), k.push(k.busybox("linux/arm/v5", symlink)), k.push(k.busybox("linux/s390x", hardlink)), k.push(k.busybox("linux/mips", symlink)))
		}),
		graph("multi-level index", func(k *kit) string {
			inner := k.indexOf(ocispecs.MediaTypeImageIndex, k.push(k.goImage("linux/arm/v7")), k.push(k.goImage("linux/arm/v6")))
			return k.index(k.push(k.goImage("linux/amd64")), []ocispecs.Descriptor{inner})
		}),
		graph("single image without an index", func(k *kit) string { return k.at(k.push(k.goImage("linux/arm64"))[0]) }),
		graph("Windows of two versions", func(k *kit) string {
			return k.index(k.push(k.goImage("linux/amd64")), windows(k, "10.0.17763.1"), windows(k, "10.0.20348.1"))
		}),
		graph("attestations", func(k *kit) string {
			a, b := k.goImage("linux/amd64"), k.goImage("linux/arm64")
			a.attested, b.attested = true, true
			return k.index(k.push(a), k.push(b))
		}),
		graph("attestations at the end", func(k *kit) string {
			a, b := k.push(k.goImage("linux/amd64")), k.push(k.goImage("linux/arm64"))
			return k.index(a, b, []ocispecs.Descriptor{k.attest(a[0].Digest, true), k.attest(b[0].Digest, true)})
		}),
		graph("Docker schema 2 list", func(k *kit) string {
			a, b := k.goImage("linux/amd64"), k.goImage("linux/arm64")
			a.docker, b.docker = true, true
			return k.at(k.indexOf(dockerList, k.push(a), k.push(b)))
		}),
		graph("config without a variant", func(k *kit) string {
			i := k.goImage("linux/arm/v6")
			i.configPlatform = &ocispecs.Platform{OS: "linux", Architecture: "arm"}
			return k.one(i)
		}).warns("platform-mismatch"),
		graph("arm64 v8 in the index alone", func(k *kit) string {
			return k.index(withPlatform(k.push(k.goImage("linux/arm64")), &ocispecs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}))
		}),
		graph("x86_64 as architecture", func(k *kit) string {
			return k.index(withPlatform(k.push(k.goImage("linux/amd64")), &ocispecs.Platform{OS: "linux", Architecture: "x86_64"}))
		}),
		graph("one image twice", func(k *kit) string {
			d := k.push(k.goImage("linux/amd64"))
			return k.index(d, d)
		}).warns("platform-duplicate"),
		graph("baseline and v3", func(k *kit) string {
			v3 := image{platform: "linux/amd64/v3", config: entry("/hello"), layers: []layer{files(k.t, bin("hello", k.c.Go(k.t, "linux/amd64", "GOAMD64=v3")))}}
			return k.index(k.push(k.goImage("linux/amd64")), k.push(v3))
		}),
		graph("riscv64, loong64 and ppc64le", func(k *kit) string {
			return k.index(k.push(k.goImage("linux/riscv64")), k.push(k.goImage("linux/loong64")), k.push(k.goImage("linux/ppc64le")))
		}),
		graph("freebsd", func(k *kit) string { return k.one(k.goImage("freebsd/amd64")) }),
		graph("WebAssembly", func(k *kit) string {
			return k.one(image{platform: "wasip1/wasm", config: entry("/hello.wasm"), layers: []layer{files(k.t, data("hello.wasm", []byte("\x00asm\x01\x00\x00\x00")))}})
		}),
		graph("Helm chart", func(k *kit) string {
			raw := k.blob([]byte("{}"))
			chart := k.blob([]byte("chart"))
			return k.at(k.manifest(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
				Config: ocispecs.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json", Digest: raw, Size: 2},
				Layers: []ocispecs.Descriptor{{MediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", Digest: chart, Size: 5}}}))
		}),
		graph("artifact beside images", func(k *kit) string {
			raw := k.blob([]byte("{}"))
			d := k.manifest(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: "application/spdx+json",
				Config: ocispecs.Descriptor{MediaType: "application/vnd.oci.empty.v1+json", Digest: raw, Size: 2}, Layers: []ocispecs.Descriptor{}})
			return k.index(k.push(k.goImage("linux/amd64")), []ocispecs.Descriptor{d})
		}),
		{name: "meant and optional platforms", options: audit.Options{Want: &audit.Want{Platforms: []string{"linux/amd64"}, Optional: []string{"linux/arm/v6"}}},
			make: func(k *kit) string { return k.index(k.push(k.goImage("linux/amd64"))) }},
		{name: "signed index", options: audit.Options{Related: true}, make: func(k *kit) string {
			d := k.indexOf(ocispecs.MediaTypeImageIndex, k.push(k.goImage("linux/arm64")))
			k.tag("sha256-"+d.Digest.Encoded()+".sig", ocispecs.MediaTypeImageManifest, k.marshal(ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest}))
			return k.at(d)
		}},
		{name: "check ignored", options: audit.Options{Rules: audit.Rules{Ignore: []string{"elf-architecture"}}}, make: func(k *kit) string {
			return k.wrong("linux/arm64", k.c.Go(k.t, "linux/amd64"))
		}},
		{name: "check made a warning", warned: []string{"elf-architecture"}, options: audit.Options{Rules: audit.Rules{Severity: map[string]audit.Severity{"elf-architecture": audit.Warning}}}, make: func(k *kit) string {
			return k.wrong("linux/arm64", k.c.Go(k.t, "linux/amd64"))
		}},
	}
}

func soundFiles() []corpusCase {
	// on is an amd64 image that runs a program of its own, with more files.
	on := func(name string, config ocispecs.ImageConfig, layers func(k *kit, own, other []byte) []layer) corpusCase {
		return corpusCase{name: name, make: func(k *kit) string {
			return k.one(image{platform: "linux/amd64", config: config, layers: layers(k, k.c.Go(k.t, "linux/amd64"), k.c.Go(k.t, "linux/arm64"))})
		}}
	}
	app := entry("/app")
	beside := func(name string, more func(k *kit, own, other []byte) []file) corpusCase {
		return on(name, app, func(k *kit, own, other []byte) []layer {
			return []layer{files(k.t, append([]file{bin("app", own)}, more(k, own, other)...)...)}
		})
	}
	packed := func(name, mediaType string, pack func(k *kit, raw []byte) []byte) corpusCase {
		return on(name, app, func(k *kit, own, _ []byte) []layer {
			raw := tarOf(k.t, bin("app", own))
			return []layer{{tar: raw, blob: pack(k, raw), mediaType: mediaType}}
		})
	}
	return []corpusCase{
		packed("zstd layer", ocispecs.MediaTypeImageLayerZstd, func(k *kit, raw []byte) []byte { return zstded(k.t, raw) }),
		packed("plain layer", ocispecs.MediaTypeImageLayer, func(_ *kit, raw []byte) []byte { return raw }),
		packed("gzip of several members as estargz", "", func(k *kit, raw []byte) []byte {
			return slicesConcat(gzipped(k.t, raw[:512]), gzipped(k.t, raw[512:1000]), gzipped(k.t, raw[1000:]), gzipped(k.t, nil))
		}),
		packed("zstd with skippable frames as zstd:chunked", ocispecs.MediaTypeImageLayerZstd, func(k *kit, raw []byte) []byte {
			skip := append([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}, "meta"...)
			return slicesConcat(skip, zstded(k.t, raw[:5000]), skip, zstded(k.t, raw[5000:]), skip)
		}),
		{name: "no layer at all", make: func(k *kit) string { return k.one(image{platform: "linux/amd64"}) }},
		on("empty layer", app, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t), files(k.t, bin("app", own)), files(k.t)}
		}),
		on("a layer twice", app, func(k *kit, own, _ []byte) []layer {
			l := files(k.t, bin("app", own))
			return []layer{l, files(k.t, whiteout(".wh.app")), l}
		}),
		on("files only", ocispecs.ImageConfig{}, func(k *kit, _, _ []byte) []layer {
			return []layer{files(k.t, text("data/model.json", "{}"))}
		}),
		{name: "layer of Windows holds the program", make: func(k *kit) string {
			return k.one(image{platform: "windows/amd64", config: entry(`C:\app.exe`), layers: []layer{{tar: tarOf(k.t), absent: true, mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls: []string{"https://example.com/l"}}}})
		}},
		on("scripts only", entry("/start"), func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("bin/sh", own), bin("usr/bin/env", own), bin("usr/local/bin/python3", own)),
				files(k.t, script("start", "#!/bin/sh -e\nexec /run.py\n"), script("run.py", "#!/usr/bin/env -S python3 -u\n"))}
		}),
		on("Nix-like links", entry("/bin/app"), func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("nix/store/aaa-app/bin/app", own), symlink("nix/store/bbb-env/bin", "/nix/store/aaa-app/bin"), symlink("bin", "nix/store/bbb-env/bin"), text("nix/store/ccc/etc/passwd", "root:x:0:0::/root:/bin/sh\n"), symlink("etc", "/nix/store/ccc/etc"))}
		}),
		on("merged usr", entry("/bin/app"), func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, dir("usr"), dir("usr/bin"), symlink("bin", "usr/bin")), files(k.t, bin("bin/app", own))}
		}),
		on("links with dots", entry("/srv/current/app"), func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("srv/releases/1/app", own), symlink("srv/current", "./releases/../releases/1"))}
		}),
		on("hard link across layers", app, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("one", own)), files(k.t, hardlink("app", "one")), files(k.t, whiteout(".wh.one"))}
		}),
		on("paths with a leading dot and slash", app, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("./app", own)), files(k.t, text("/abs", "x"))}
		}),
		on("wrong deleted by a whiteout", app, func(k *kit, own, other []byte) []layer {
			return []layer{files(k.t, bin("app", own), bin("usr/bin/other", other)), files(k.t, whiteout("usr/bin/.wh.other"))}
		}),
		on("wrong hidden by an opaque directory", app, func(k *kit, own, other []byte) []layer {
			return []layer{files(k.t, bin("app", own), bin("usr/bin/other", other)), files(k.t, whiteout("usr/bin/.wh..wh..opq"), bin("usr/bin/mine", own))}
		}),
		on("wrong replaced by right", app, func(k *kit, own, other []byte) []layer {
			return []layer{files(k.t, bin("app", other)), files(k.t, bin("app", own))}
		}),
		on("directory of wrong ones replaced by a file", app, func(k *kit, own, other []byte) []layer {
			return []layer{files(k.t, bin("app", own), bin("usr/bin/x/y", other)), files(k.t, text("usr/bin/x", "a file now"))}
		}),
		on("wrong replaced within one layer", app, func(k *kit, own, other []byte) []layer {
			return []layer{files(k.t, bin("app", other), bin("app", own))}
		}),
		on("entrypoint in the working directory", ocispecs.ImageConfig{Entrypoint: []string{"./app"}, WorkingDir: "/srv"}, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("srv/app", own))}
		}),
		on("PATH of its own", ocispecs.ImageConfig{Entrypoint: []string{"app"}, Env: []string{"PATH=/opt/bin:/usr/bin"}}, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("opt/bin/app", own))}
		}),
		on("tini with options", entry("tini", "-g", "-e", "143", "--", "app", "/data"), func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("usr/bin/tini", own), bin("usr/bin/app", own), dir("data"))}
		}),
		on("shell that builds its command", ocispecs.ImageConfig{Cmd: []string{"/bin/sh", "-c", "cd /srv && ./app $FLAGS"}}, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("bin/sh", own))}
		}).warns("entrypoint-missing"),
		on("numeric user", ocispecs.ImageConfig{Entrypoint: []string{"/app"}, User: "65532:65532"}, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("app", own))}
		}),
		on("long names", app, func(k *kit, own, _ []byte) []layer {
			return []layer{files(k.t, bin("app", own), text(strings.Repeat("long/", 60)+strings.Repeat("n", 200), "x"), text("ünïcode/名前", "x"))}
		}),
		beside("firmware", func(_ *kit, _, other []byte) []file {
			return []file{data("usr/lib/firmware/vendor/fw.elf", other), data("lib/firmware/x.bin", other)}
		}),
		beside("qemu", func(_ *kit, own, other []byte) []file {
			return []file{bin("usr/bin/qemu-aarch64-static", own), data("usr/share/qemu/efi.elf", other), bin("usr/bin/qemu-arm-static", other), bin("usr/local/bin/qemu-x86_64", other)}
		}),
		beside("cross toolchain", func(k *kit, own, other []byte) []file {
			return []file{bin("usr/bin/aarch64-linux-gnu-gcc", own), data("usr/aarch64-linux-gnu/lib/libc.so.6", other), data("usr/lib/gcc-cross/aarch64-linux-gnu/12/libgcc_s.so.1", other)}
		}),
		beside("libraries of another Debian architecture", func(_ *kit, _, other []byte) []file {
			return []file{data("usr/lib/aarch64-linux-gnu/libz.so.1", other), data("lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", other)}
		}),
		beside("packages for several platforms", func(k *kit, own, other []byte) []file {
			return []file{data("srv/node_modules/x/prebuilds/linux-x64/x.node", own), data("srv/node_modules/x/prebuilds/linux-arm64/x.node", other),
				data("srv/node_modules/x/prebuilds/darwin-arm64/x.node", k.c.Go(k.t, "darwin/arm64"))}
		}),
		beside("a release server's downloads", func(k *kit, own, other []byte) []file {
			return []file{bin("usr/local/bin/agent-amd64", own), bin("usr/local/bin/agent-arm64", other)}
		}),
		beside("Go's own test data", func(k *kit, _, other []byte) []file {
			return []file{data("usr/local/go/src/debug/elf/testdata/gcc-arm64-exec", other), data("usr/local/go/src/debug/macho/testdata/exec", k.c.Go(k.t, "darwin/arm64"))}
		}),
		beside("32-bit programs", func(k *kit, _, _ []byte) []file {
			return []file{bin("usr/bin/old", k.c.Go(k.t, "linux/386")), data("lib32/x.so", k.c.Go(k.t, "linux/386"))}
		}),
		beside("object files and archives", func(k *kit, _, _ []byte) []file {
			o := k.c.C(k.t, "aarch64-linux-gnu-gcc", "lib.c", "-c")
			return []file{data("usr/lib/x.o", o), data("usr/lib/libx.a", append([]byte("!<arch>\nx.o/            0           0     0     644     100       `\n"), o...))}
		}),
		beside("BPF programs", func(k *kit, own, _ []byte) []file {
			bpf := bytes.Clone(own[:4096])
			bpf[18], bpf[19] = 247, 0 // EM_BPF
			return []file{data("usr/lib/bpf/trace.elf", bpf)}
		}),
		beside("files that begin like programs", func(_ *kit, _, _ []byte) []file {
			return []file{data("srv/a", []byte("\x7fELF")), data("srv/b", append([]byte("\x7fELF\x02\x01\x01"), bytes.Repeat([]byte{0xff}, 500)...)), data("srv/c", []byte("MZ")), text("srv/d", "#!")}
		}),
		beside(".NET, Java and Python for Windows", func(k *kit, _, _ []byte) []file {
			exe := k.c.Go(k.t, "windows/amd64")
			return []file{data("usr/lib/python3/site-packages/pip/_vendor/distlib/t64.exe", exe), data("srv/lib/App.exe", exe), data("srv/Main.class", []byte("\xca\xfe\xba\xbe\x00\x00\x00\x37 class of Java"))}
		}),
		beside("libraries chosen by the CPU", func(k *kit, _, _ []byte) []file {
			return []file{data("usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libx.so", k.c.C(k.t, "gcc", "lib.c", "-shared", "-fPIC", "-Wl,-z,x86-64-v3"))}
		}),
		{name: "allowed by the user", options: audit.Options{Rules: audit.Rules{Allow: []string{"/opt/vendor/**"}}}, make: func(k *kit) string {
			return k.one(image{platform: "linux/amd64", config: app, layers: []layer{files(k.t, bin("app", k.c.Go(k.t, "linux/amd64")), bin("opt/vendor/tool", k.c.Go(k.t, "linux/arm64")))}})
		}},
		on("glibc program with what it needs", entry("/usr/bin/hello"), func(k *kit, _, _ []byte) []layer {
			lib := k.c.C(k.t, "gcc", "lib.c", "-shared", "-fPIC")
			return []layer{files(k.t, dir("usr"), dir("usr/lib64"), symlink("lib64", "usr/lib64"), bin("usr/lib64/ld-linux-x86-64.so.2", lib), data("usr/lib/x86_64-linux-gnu/libc.so.6", lib)),
				files(k.t, bin("usr/bin/hello", k.c.C(k.t, "gcc", "hello.c")))}
		}),
		{name: "C for arm v5, v6 and v7", make: func(k *kit) string {
			one := func(platform, compiler string, flags ...string) []ocispecs.Descriptor {
				return k.push(image{platform: platform, config: app, layers: []layer{files(k.t, bin("app", k.c.C(k.t, compiler, "bare.c", append([]string{"-nostdlib", "-static"}, flags...)...)))}})
			}
			return k.index(one("linux/arm/v5", "arm-linux-gnueabi-gcc"), one("linux/arm/v6", "arm-linux-gnueabi-gcc", "-march=armv6"), one("linux/arm/v7", "arm-linux-gnueabihf-gcc"))
		}},
		{name: "older variant in a newer image", make: func(k *kit) string {
			return k.wrong("linux/arm/v7", k.c.Go(k.t, "linux/arm/v5"))
		}},
		{name: "graphics driver of the host", make: func(k *kit) string {
			program := bytes.ReplaceAll(k.c.C(k.t, "gcc", "hello.c"), []byte("libc.so.6\x00"), []byte("libcuda.so"))
			lib := k.c.C(k.t, "gcc", "lib.c", "-shared", "-fPIC")
			return k.one(image{platform: "linux/amd64", config: app, layers: []layer{files(k.t, bin("app", program), bin("lib64/ld-linux-x86-64.so.2", lib))}})
		}},
		on("many small layers", app, func(k *kit, own, _ []byte) []layer {
			layers := []layer{files(k.t, bin("app", own))}
			for i := range 60 {
				layers = append(layers, files(k.t, text(fmt.Sprintf("d%d/f", i), "x"), symlink(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", (i+1)%60))))
			}
			return layers
		}),
	}
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
