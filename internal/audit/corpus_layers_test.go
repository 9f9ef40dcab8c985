package audit_test

import (
	"bytes"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
)

// noise is bytes that do not compress, the same every time.
func noise(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(out)
	return out
}

func brokenLayers() []corpusCase {
	const e = audit.Error
	one := func(edit func(k *kit, i *image)) func(k *kit) string {
		return func(k *kit) string {
			i := k.tiny("linux/amd64")
			edit(k, &i)
			return k.one(i)
		}
	}
	return []corpusCase{
		{name: "layer cut off", id: "layer-corrupt", severity: e, make: one(func(k *kit, i *image) {
			whole := gzipped(k.t, tarOf(k.t, data("noise", noise(100_000))))
			i.layers[0].blob = whole[:len(whole)/2]
		})},
		{name: "tar cut off", id: "layer-corrupt", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0].tar = tarOf(k.t, data("noise", noise(100_000)))[:50_000]
		})},
		{name: "layer is no tar", id: "layer-corrupt", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0].tar = bytes.Repeat([]byte("this is a text\n"), 1000)
		})},
		{name: "layer is a web page", id: "layer-corrupt", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0].blob = bytes.Repeat([]byte("<html>not found</html>\n"), 100)
		})},
		{name: "gzip checksum wrong", id: "layer-corrupt", severity: e, make: one(func(k *kit, i *image) {
			blob := gzipped(k.t, i.layers[0].tar)
			blob[len(blob)-8] ^= 1
			i.layers[0].blob = blob
		})},
		{name: "zstd damaged", id: "layer-corrupt", severity: e, make: one(func(k *kit, i *image) {
			blob := zstded(k.t, tarOf(k.t, data("noise", noise(100_000))))
			blob[len(blob)/2] ^= 1
			i.layers[0].blob, i.layers[0].mediaType = blob, ocispecs.MediaTypeImageLayerZstd
		})},
		{name: "diff id wrong", id: "diff-id", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0].diffID = digest.FromString("other")
		})},
		{name: "diff ids swapped", id: "diff-id", severity: e, make: one(func(k *kit, i *image) {
			i.layers = append(i.layers, files(k.t, text("second", "2")))
			i.edit = func(c *ocispecs.Image) {
				d := c.RootFS.DiffIDs
				d[0], d[1] = d[1], d[0]
			}
		})},
		{name: "diff id too few", id: "diff-id", severity: e, make: one(func(k *kit, i *image) {
			i.edit = func(c *ocispecs.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:0] }
		})},
		{name: "path traversal", id: "layer-path", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0] = files(k.t, text("../../etc/cron.d/mine", "* * * * * root mine"))
		})},
		{name: "hard link out", id: "layer-path", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0] = files(k.t, hardlink("shadow", "../../../etc/shadow"))
		})},
		{name: "zstd said to be gzip", id: "layer-type", severity: audit.Warning, make: one(func(k *kit, i *image) {
			i.layers[0].blob = zstded(k.t, i.layers[0].tar)
		})},
		{name: "setuid", id: "setuid", severity: audit.Note, make: one(func(k *kit, i *image) {
			f := bin("usr/bin/mine", []byte("x"))
			f.mode = 0o4755
			i.layers[0] = files(k.t, f)
		})},
		{name: "private key", id: "secret", severity: audit.Note, make: one(func(k *kit, i *image) {
			i.layers[0] = files(k.t, text("app/server.key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"))
		})},
		{name: "npm token", id: "secret", severity: audit.Note, make: one(func(k *kit, i *image) {
			i.layers[0] = files(k.t, text("app/.npmrc", "registry=https://registry.npmjs.org/\n//registry.npmjs.org/:_authToken=npm_0123456789012345678901234567890123456789\nsave=true\n"))
		})},
		{name: "password in the environment", id: "secret", severity: audit.Note, make: one(func(k *kit, i *image) {
			i.config.Env = []string{"DB_PASSWORD=hunter2hunter2"}
		})},
		{name: "user unknown", id: "user-missing", severity: e, make: one(func(k *kit, i *image) {
			i.layers[0] = files(k.t, text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"))
			i.config.User = "app:app"
		})},
		{name: "user without a database", id: "user-missing", severity: e, make: one(func(k *kit, i *image) {
			i.config.User = "app"
		})},
	}
}
