package tasks_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// elfMachine reads the file PATH of a platform of IMAGE out of the registry, by
// plain HTTP and none of our own code, and wants its ELF machine:
//
//	elf IMAGE PLATFORM PATH MACHINE
func elfMachine(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: elf IMAGE PLATFORM PATH MACHINE")
	}
	host, rest, _ := strings.Cut(args[0], "/")
	repo, tag, _ := strings.Cut(rest, ":")
	get := func(path string) []byte {
		req, err := http.NewRequest(http.MethodGet, "http://"+host+"/v2/"+repo+"/"+path, nil)
		ts.Check(err)
		req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
		resp, err := registrytest.HTTP.Do(req)
		ts.Check(err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		ts.Check(err)
		if resp.StatusCode != http.StatusOK {
			ts.Fatalf("GET %s: %s %s", path, resp.Status, data)
		}
		return data
	}
	var index struct {
		Manifests []struct {
			Digest   string
			Platform struct{ OS, Architecture, Variant string }
		}
	}
	ts.Check(json.Unmarshal(get("manifests/"+tag), &index))
	for _, m := range index.Manifests {
		name := strings.TrimSuffix(fmt.Sprintf("%s/%s/%s", m.Platform.OS, m.Platform.Architecture, m.Platform.Variant), "/")
		if name != args[1] {
			continue
		}
		var manifest struct {
			Config struct{ Digest string }
			Layers []struct{ Digest string }
		}
		ts.Check(json.Unmarshal(get("manifests/"+m.Digest), &manifest))
		var config struct{ OS, Architecture, Variant string }
		ts.Check(json.Unmarshal(get("blobs/"+manifest.Config.Digest), &config))
		if config.Architecture != m.Platform.Architecture || config.Variant != m.Platform.Variant {
			ts.Fatalf("the config says %+v, the index %s", config, name)
		}
		for _, l := range manifest.Layers {
			if data := fromLayer(ts, get("blobs/"+l.Digest), args[2]); data != nil {
				f, err := elf.NewFile(bytes.NewReader(data))
				ts.Check(err)
				if f.Machine.String() != args[3] {
					ts.Fatalf("%s of %s is for %s, want %s", args[2], name, f.Machine, args[3])
				}
				return
			}
		}
		ts.Fatalf("%s is in no layer of %s", args[2], name)
	}
	ts.Fatalf("%s has no platform %s", args[0], args[1])
}

func fromLayer(ts *testscript.TestScript, layer []byte, path string) []byte {
	z, err := gzip.NewReader(bytes.NewReader(layer))
	ts.Check(err)
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		ts.Check(err)
		if strings.Trim(h.Name, "/.") == strings.Trim(path, "/.") {
			data, err := io.ReadAll(r)
			ts.Check(err)
			return data
		}
	}
}
