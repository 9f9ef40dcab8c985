package audit_test

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
)

func entry(argv ...string) ocispecs.ImageConfig { return ocispecs.ImageConfig{Entrypoint: argv} }

// tiny is an image of one file, for cases where the files do not matter.
func (k *kit) tiny(platform string) image {
	return image{platform: platform, layers: []layer{files(k.t, text("name", platform+k.path))}}
}

// withPlatform changes what the index says of an image.
func withPlatform(d []ocispecs.Descriptor, p *ocispecs.Platform) []ocispecs.Descriptor {
	d[0].Platform = p
	return d
}

func brokenImages() []corpusCase {
	return append(brokenGraphs(), append(brokenPlatforms(), append(brokenLayers(), append(brokenPrograms(), append(brokenReach(), append(append(brokenNamed(), brokenPlaced()...), brokenMachines()...)...)...)...)...)...)
}

func brokenGraphs() []corpusCase {
	const e = audit.Error
	return []corpusCase{
		{name: "manifest gone", id: "missing-manifest", severity: e, make: func(k *kit) string {
			gone := k.push(k.tiny("linux/arm64"))
			ref := k.index(k.push(k.tiny("linux/amd64")), gone)
			k.tamper.with(gone[0].Digest, nil)
			return ref
		}},
		{name: "config gone", id: "missing-config", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.configAbsent = true
			return k.one(i)
		}},
		{name: "layer gone", id: "missing-layer", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.layers[0].absent = true
			return k.one(i)
		}},
		{name: "second layer gone", id: "missing-layer", severity: e, make: func(k *kit) string {
			i := k.goImage("linux/arm64")
			l := files(k.t, text("gone", k.path))
			l.absent = true
			i.layers = append(i.layers, l)
			return k.one(i)
		}},
		{name: "sbom gone", id: "missing-layer", severity: e, make: func(k *kit) string {
			i := k.push(k.tiny("linux/arm64"))
			return k.index(append(i, k.attest(i[0].Digest, false)))
		}},
		{name: "manifest has other bytes", id: "corrupt", severity: e, make: func(k *kit) string {
			i := k.push(k.tiny("linux/arm64"))
			k.tamper.with(i[0].Digest, []byte(`{"schemaVersion":2,"mediaType":"`+ocispecs.MediaTypeImageManifest+`"}`))
			return k.index(i)
		}},
		{name: "config has other bytes", id: "corrupt", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.rawConfig = []byte(`{"os":"linux","architecture":"arm64","author":"` + k.path + `"}`)
			k.tamper.with(digest.FromBytes(i.rawConfig), []byte(`{"os":"linux","architecture":"amd64"}`))
			return k.one(i)
		}},
		{name: "layer has other bytes", id: "corrupt", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.layers[0].blob = gzipped(k.t, i.layers[0].tar)
			k.tamper.with(digest.FromBytes(i.layers[0].blob), gzipped(k.t, tarOf(k.t, text("name", "other"))))
			return k.one(i)
		}},
		{name: "manifest is no JSON", id: "corrupt", severity: e, make: func(k *kit) string {
			d := k.manifest(ocispecs.MediaTypeImageManifest, []byte("<html>"))
			d.Platform = &ocispecs.Platform{OS: "linux", Architecture: "arm64"}
			return k.index(k.push(k.tiny("linux/amd64")), []ocispecs.Descriptor{d})
		}},
		{name: "config is no JSON", id: "corrupt", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.rawConfig = []byte("os: linux")
			return k.one(i)
		}},
		{name: "index lies about a size", id: "size-mismatch", severity: e, make: func(k *kit) string {
			i := k.push(k.tiny("linux/arm64"))
			i[0].Size += 7
			return k.index(i)
		}},
		{name: "manifest lies about a size", id: "size-mismatch", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.layers[0].sizeLie = -1
			return k.one(i)
		}},
		{name: "index lies about a media type", id: "type-mismatch", severity: e, make: func(k *kit) string {
			i := k.push(k.tiny("linux/arm64"))
			i[0].MediaType = dockerManifest
			return k.index(i)
		}},
		{name: "attestation of an image that is gone", id: "attestation-orphan", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.attested = true
			d := k.push(i)
			d[1].Annotations["vnd.docker.reference.digest"] = digest.FromString("before").String()
			return k.index(d)
		}},
		{name: "attestation after the image was pushed again", id: "attestation-orphan", severity: e, make: func(k *kit) string {
			old := k.push(k.tiny("linux/arm64"))
			i := k.tiny("linux/arm64")
			i.annotations = map[string]string{"again": "yes"}
			return k.index(k.push(i), []ocispecs.Descriptor{k.attest(old[0].Digest, true)})
		}},
		{name: "attestation of one platform only", id: "attestation-uneven", severity: audit.Warning, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.attested = true
			return k.index(k.push(i), k.push(k.tiny("linux/amd64")))
		}},
		{name: "empty index", id: "empty-index", severity: e, make: func(k *kit) string { return k.index() }},
		{name: "index of attestations", id: "empty-index", severity: e, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.attested = true
			return k.index(k.push(i)[1:])
		}},
		{name: "schema 1", id: "schema1", severity: e, make: func(k *kit) string {
			return k.at(k.manifest("application/vnd.docker.distribution.manifest.v1+json", []byte(`{"schemaVersion":1,"name":"old","tag":"1","architecture":"amd64"}`)))
		}},
		{name: "indexes within indexes", id: "graph-depth", severity: e, make: func(k *kit) string {
			d := k.push(k.tiny("linux/arm64"))
			for range 6 {
				d = []ocispecs.Descriptor{k.indexOf(ocispecs.MediaTypeImageIndex, d)}
			}
			return k.at(d[0])
		}},
		{name: "tag moved", id: "tag-drift", severity: e, options: audit.Options{Want: &audit.Want{Digest: digest.FromString("released")}},
			make: func(k *kit) string { return k.one(k.tiny("linux/arm64")) }},
		{name: "child moved", id: "tag-drift", severity: e, options: audit.Options{Want: &audit.Want{Children: map[string]digest.Digest{"linux/arm64": digest.FromString("released")}}},
			make: func(k *kit) string { return k.one(k.tiny("linux/arm64")) }},
		{name: "annotation missing", id: "index-annotations", severity: e, options: audit.Options{Want: &audit.Want{Annotations: map[string]string{"org.opencontainers.image.title": "hello"}}},
			make: func(k *kit) string { return k.one(k.tiny("linux/arm64")) }},
		{name: "Docker and OCI mixed", id: "media-types", severity: audit.Warning, make: func(k *kit) string {
			i := k.tiny("linux/arm64")
			i.docker = true
			return k.one(i)
		}},
		{name: "index signed and images not", id: "signature-missing", severity: e, options: audit.Options{Related: true, Want: &audit.Want{Signed: true}}, make: func(k *kit) string {
			d := k.indexOf(ocispecs.MediaTypeImageIndex, k.push(k.tiny("linux/arm64")))
			k.tag("sha256-"+d.Digest.Encoded()+".sig", ocispecs.MediaTypeImageManifest, k.marshal(ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest}))
			return k.at(d)
		}},
		{name: "base has a newer version", id: "base-outdated", severity: audit.Warning, options: audit.Options{Related: true}, make: func(k *kit) string {
			k.tag("base", ocispecs.MediaTypeImageIndex, k.marshal(ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{}}))
			i := k.tiny("linux/arm64")
			i.annotations = map[string]string{ocispecs.AnnotationBaseImageName: k.name() + ":base", ocispecs.AnnotationBaseImageDigest: digest.FromString("old").String()}
			return k.one(i)
		}},
	}
}

func brokenPlatforms() []corpusCase {
	const e = audit.Error
	pair := func(edit func(k *kit, arm *image)) func(k *kit) string {
		return func(k *kit) string {
			arm := k.tiny("linux/arm64")
			edit(k, &arm)
			return k.index(k.push(k.tiny("linux/amd64")), k.push(arm))
		}
	}
	return []corpusCase{
		{name: "children swapped", id: "platform-mismatch", severity: e, make: func(k *kit) string {
			a, b := k.push(k.goImage("linux/amd64")), k.push(k.goImage("linux/arm64"))
			a[0].Platform, b[0].Platform = b[0].Platform, a[0].Platform
			return k.index(a, b)
		}},
		{name: "variants swapped", id: "platform-mismatch", severity: e, make: func(k *kit) string {
			a, b := k.push(k.tiny("linux/arm/v6")), k.push(k.tiny("linux/arm/v7"))
			a[0].Platform, b[0].Platform = b[0].Platform, a[0].Platform
			return k.index(a, b)
		}},
		{name: "amd64 built under an arm64 label", id: "platform-mismatch", severity: e, make: pair(func(_ *kit, arm *image) {
			arm.configPlatform = &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
		})},
		{name: "other system", id: "platform-mismatch", severity: e, make: pair(func(_ *kit, arm *image) {
			arm.configPlatform = &ocispecs.Platform{OS: "windows", Architecture: "arm64"}
		})},
		{name: "config without a platform", id: "platform-mismatch", severity: e, make: pair(func(_ *kit, arm *image) {
			arm.configPlatform = &ocispecs.Platform{}
		})},
		{name: "platform twice", id: "platform-duplicate", severity: e, make: func(k *kit) string {
			again := k.tiny("linux/arm64")
			again.annotations = map[string]string{"again": "yes"}
			return k.index(k.push(k.tiny("linux/arm64")), k.push(again))
		}},
		{name: "platform twice in two spellings", id: "platform-duplicate", severity: e, make: func(k *kit) string {
			again := k.tiny("linux/arm64")
			again.annotations = map[string]string{"again": "yes"}
			return k.index(k.push(k.tiny("linux/arm64")), withPlatform(k.push(again), &ocispecs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}))
		}},
		{name: "armv7 as variant", id: "platform-unknown", severity: e, make: func(k *kit) string {
			return k.index(withPlatform(k.push(k.tiny("linux/arm/v7")), &ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "armv7"}))
		}},
		{name: "armv7 as architecture", id: "platform-unknown", severity: e, make: func(k *kit) string {
			return k.index(withPlatform(k.push(k.tiny("linux/arm/v7")), &ocispecs.Platform{OS: "linux", Architecture: "armv7"}))
		}},
		{name: "system misspelt", id: "platform-unknown", severity: e, make: func(k *kit) string {
			return k.index(withPlatform(k.push(k.tiny("linux/arm64")), &ocispecs.Platform{OS: "lunix", Architecture: "arm64"}))
		}},
		{name: "arm without a variant", id: "variant-unstated", severity: audit.Warning, make: func(k *kit) string {
			return k.index(withPlatform(k.push(k.tiny("linux/arm/v7")), &ocispecs.Platform{OS: "linux", Architecture: "arm"}))
		}},
		{name: "no platform", id: "platform-unnamed", severity: e, make: func(k *kit) string {
			return k.index(withPlatform(k.push(k.tiny("linux/arm64")), nil))
		}},
		{name: "unknown platform of an image", id: "platform-unnamed", severity: e, make: func(k *kit) string {
			return k.index(withPlatform(k.push(k.tiny("linux/arm64")), &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}))
		}},
		{name: "platform missing", id: "platform-missing", severity: e, options: audit.Options{Want: &audit.Want{Platforms: []string{"linux/arm64", "linux/arm/v6"}}},
			make: func(k *kit) string { return k.one(k.tiny("linux/arm64")) }},
		{name: "platform not meant", id: "platform-extra", severity: e, options: audit.Options{Want: &audit.Want{Platforms: []string{"linux/arm64"}}},
			make: func(k *kit) string { return k.index(k.push(k.tiny("linux/arm64")), k.push(k.tiny("linux/386"))) }},
		{name: "built years apart", id: "created-skew", severity: audit.Warning, make: func(k *kit) string {
			built := func(platform string, year int) []ocispecs.Descriptor {
				at, i := time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC), k.tiny(platform)
				i.edit = func(c *ocispecs.Image) { c.Created = &at }
				return k.push(i)
			}
			return k.index(built("linux/amd64", 2026), built("linux/arm64", 2021))
		}},
		{name: "much larger", id: "size-divergence", severity: audit.Warning, make: pair(func(k *kit, arm *image) {
			arm.layers = append(arm.layers, files(k.t, data("noise", noise(25<<20))))
		})},
		{name: "other entrypoint", id: "config-divergence", severity: audit.Warning, make: pair(func(_ *kit, arm *image) {
			arm.config.Labels = map[string]string{"only": "here"}
		})},
		{name: "many more layers", id: "layer-divergence", severity: audit.Note, make: pair(func(k *kit, arm *image) {
			for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
				arm.layers = append(arm.layers, files(k.t, text(name, name)))
			}
		})},
	}
}
