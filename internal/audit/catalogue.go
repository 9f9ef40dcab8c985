package audit

import "slices"

// Check is one of the things an audit looks for.
type Check struct {
	// ID is stable: configurations and SARIF consumers refer to it.
	ID string
	// Severity is what its findings have at most, unless the configuration
	// says otherwise.
	Severity Severity
	// Title says in a few words what is wrong where it finds something.
	Title string
	// Remedy says how that is mended.
	Remedy string
}

// Checks lists all checks, the most harmful first.
var Checks = []Check{
	{"elf-architecture", Error, "A binary is for another architecture than its image", "build the program on, or cross-compile it for, the platform of the image; a COPY --from of a stage pinned to the build platform is the usual cause"},
	{"elf-variant", Error, "A binary needs a later variant of the CPU than the platform promises", "compile for the variant: GOARM=6, -march=armv6, or release it as the platform it is for"},
	{"elf-level", Error, "A binary needs CPU features beyond the platform's baseline", "compile for the baseline (GOAMD64=v1, no -march=native), or name the level as the platform's variant"},
	{"cpu-level", Error, "Code uses CPU instructions beyond the platform's baseline", "compile for the baseline (no -mcpu=native, no -march=armv8.1-a), or let the program ask the CPU first (-moutline-atomics); or name the level as the platform's variant"},
	{"foreign-format", Error, "A binary is for another operating system", "build it for the image's operating system"},
	{"entrypoint-missing", Error, "The program that the image starts is not in it", "copy the program to where ENTRYPOINT or CMD say, or correct them"},
	{"entrypoint-not-executable", Error, "The program that the image starts cannot be executed", "set its execute bits: COPY --chmod=755"},
	{"interpreter-missing", Error, "The dynamic loader of a binary is not in the image", "link it statically (CGO_ENABLED=0), or use a base image with the C library it was linked against (glibc or musl)"},
	{"library-missing", Error, "A library that a binary is linked against is not in the image", "install the library, or link it statically"},
	{"libc-version", Error, "A binary needs a newer C library than the image has", "build it on a base that is not newer than the image's (the same Debian, UBI or Alpine release), or use a newer base; or link it statically"},
	{"page-size", Error, "A binary is laid out for smaller pages than kernels of the platform have", "link it with -Wl,-z,max-page-size=65536, or say which pages the machines have: audit { page_size = { \"linux/arm64\" = \"4K\" } }"},
	{"script-interpreter", Error, "The interpreter that a script names is not in the image or cannot run", "install the interpreter, correct the first line of the script, or give it Unix line ends"},
	{"user-missing", Error, "The user that the image runs as does not exist in it", "create the user in the Dockerfile, or use a numeric USER"},
	{"missing-manifest", Error, "A manifest that the index names is not there", "push the image again; a clean-up of untagged images may have deleted it"},
	{"missing-config", Error, "An image's config is not there", "push the image again"},
	{"missing-layer", Error, "A layer is not there", "push the image again"},
	{"corrupt", Error, "Bytes are not those that their digest names, or not what they must be", "push the image again; the registry's storage may be damaged"},
	{"size-mismatch", Error, "A descriptor states another size than the bytes have", "make the index anew from the images as they are"},
	{"type-mismatch", Error, "A descriptor states another media type than the manifest has", "make the index anew from the images as they are"},
	{"layer-corrupt", Error, "A layer cannot be unpacked", "build and push the image again"},
	{"layer-path", Error, "A layer holds an entry that leaves the image", "do not run this image; find out how the layer came to be"},
	{"layer-limit", Error, "A layer is beyond what an honest one holds", "do not run this image unless the layer is known to be meant"},
	{"diff-id", Error, "A layer is not the one that the config names", "build and push the image again"},
	{"layer-type", Warning, "A layer is compressed otherwise than its media type says", "push the image again with a tool that states it right"},
	{"platform-missing", Error, "A platform that was meant is missing", "build it and make the index again"},
	{"platform-extra", Error, "A platform is there that was not meant", "add it to targets.hcl, or make the index without it"},
	{"platform-mismatch", Error, "The index and the image's config name different platforms", "build the image for the platform it is entered under, or enter it under its own"},
	{"platform-duplicate", Error, "Two images are for the same platform", "leave one of them out: clients take the first"},
	{"platform-unnamed", Error, "An image in the index has no platform", "enter it with its platform: no client will choose it"},
	{"platform-unknown", Error, "A platform has a name that no client asks for", "use the names of Go: linux/arm with the variant v7, not linux/armv7"},
	{"variant-unstated", Warning, "An arm image does not state its variant", "state v5, v6 or v7: clients take it for v7"},
	{"empty-index", Error, "The index holds no image", "make it again from images"},
	{"schema1", Error, "It is a Docker image of schema 1, which clients refuse", "push it again with a client of this decade"},
	{"not-an-image", Note, "It is no image", "nothing to mend, if it is meant"},
	{"graph-depth", Error, "Indexes are nested deeper than clients follow", "make one index of the images themselves"},
	{"tag-drift", Error, "The tag names something else than was released", "find out who moved it; release again or roll back"},
	{"false-attestation", Error, "An entry of the index calls itself an attestation and is none", "do not use this index: find out how the entry came into it, and make it again from the images that were meant"},
	{"attestation-orphan", Error, "An attestation is about an image that is not in the index", "make the index again with the attestations of its own images"},
	{"attestation-uneven", Warning, "Some platforms have an attestation that others lack", "build all platforms with the same --attest"},
	{"signature-missing", Warning, "The index is signed, or is to be, and an image is not", "sign recursively: cosign sign --recursive"},
	{"size-divergence", Warning, "A platform is much larger than the others", "compare the layers: something was left in, or out"},
	{"layer-divergence", Note, "Platforms have very different numbers of layers", "compare the Dockerfile's branches"},
	{"media-types", Warning, "Docker's and OCI's media types are mixed", "push all images in one format: release { media_types = \"oci\" }"},
	{"index-annotations", Note, "The index lacks annotations", "annotate the index: annotations = [\"index:org.opencontainers.image.source=…\"]"},
	{"created-skew", Warning, "Platforms were built far apart in time", "build all of them again, or set SOURCE_DATE_EPOCH"},
	{"config-divergence", Warning, "The configs of the platforms differ", "make the Dockerfile say the same for all platforms"},
	{"base-outdated", Warning, "The base image has a newer version", "build again with --pull"},
	{"layer-unread", Error, "A layer of an image was not read, so nothing is known of what it holds", "push the image with layers of a file system (tar, gzip, zstd) that the registry has; or ignore the check for images that are meant to be so"},
	{"script-unread", Note, "What a script starts could not be followed", "nothing to mend, if the script is fine; the programs it names by their paths were judged"},
	{"foreign-layer", Note, "A layer is fetched from elsewhere", "nothing to mend for Windows images"},
	{"setuid", Note, "A file runs with the rights of its owner or group", "remove the bit if nothing needs it: chmod u-s"},
	{"secret", Note, "Something looks like a secret", "keep secrets out of images: use build secrets (RUN --mount=type=secret), and revoke what was published"},
}

func checkIndex(id string) int {
	return slices.IndexFunc(Checks, func(c Check) bool { return c.ID == id })
}

func checkOf(id string) Check {
	if i := checkIndex(id); i >= 0 {
		return Checks[i]
	}
	panic("audit: no check is called " + id) // a mistake in this package
}
