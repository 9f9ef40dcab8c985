package index

import (
	"encoding/json"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzCorrect repairs configs and manifests of any bytes: it refuses them, or
// gives a config that says the platform and keeps all else.
func FuzzCorrect(f *testing.F) {
	f.Add([]byte(`{"config":{"mediaType":"m","digest":"sha256:0","size":3},"layers":[],"x":1}`), []byte(`{"os":"linux","architecture":"arm","os.version":"1","rootfs":{"type":"layers"},"x":[1]}`))
	f.Add([]byte(`null`), []byte(`{}`))
	f.Add([]byte(`{"config":null}`), []byte(`{"OS":"x"}`))
	f.Add([]byte(`[]`), []byte(`"x"`))
	want := ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		fixed, err := part{manifest: manifest, config: config}.correct(want)
		if err != nil {
			return
		}
		var m ocispecs.Manifest
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(fixed.manifest, &m); err != nil {
			t.Skip("it was no manifest before either")
		}
		if m.Config.Size != int64(len(fixed.config)) || m.Config.Digest.Validate() != nil {
			t.Errorf("the manifest names config %+v of %d bytes", m.Config, len(fixed.config))
		}
		if json.Unmarshal(config, &before) != nil || json.Unmarshal(fixed.config, &after) != nil {
			t.Fatalf("config %q became %q", config, fixed.config)
		}
		for _, key := range []string{"os", "architecture", "variant", "os.version", "os.features"} {
			delete(before, key)
		}
		for key := range before {
			if _, ok := after[key]; !ok {
				t.Errorf("%q was lost from %q: %q", key, config, fixed.config)
			}
		}
		if string(after["os"]) != `"linux"` || string(after["architecture"]) != `"arm"` || string(after["variant"]) != `"v6"` || after["os.version"] != nil {
			t.Errorf("the config is %q", fixed.config)
		}
	})
}
