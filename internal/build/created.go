package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// compatibility is the version of what BuildKit's exporters may change in an
// image: that of every BuildKit since v0.15, so that a worker's upgrade leaves
// digests alone. Older ones do not know it and do the same.
// https://github.com/moby/buildkit/blob/master/docs/build-repro.md#compatibility-version
const compatibility = 20

// solve runs a build whose image shall say that it was created at a time. nil
// leaves that to BuildKit. It reports whether the image was made, so that an error
// is about what came after: attestations and the push.
func solve(ctx context.Context, c *client.Client, opt client.SolveOpt, created *time.Time, status chan *client.SolveStatus) (resp *client.SolveResponse, made bool, err error) {
	// The exporter has one time for layers and configuration. The result passes
	// through here on its way to it, as buildx has it too.
	frontend := opt.Frontend
	var passed atomic.Bool
	resp, err = c.Build(ctx, opt, "", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		// These are the build's own, and the caches to read from.
		res, err := c.Solve(ctx, gateway.SolveRequest{Frontend: frontend, FrontendOpt: c.BuildOpts().Opts, Evaluate: true})
		if err == nil && created != nil {
			err = date(res.Metadata, *created)
		}
		if err != nil {
			return nil, err
		}
		passed.Store(true)
		return res, nil
	}, status)
	return resp, passed.Load(), err
}

// date writes the time into every image configuration of a result. The exporter
// leaves the history of the base image alone, so all of it is called that.
func date(metadata map[string][]byte, created time.Time) error {
	for key, config := range maps.Clone(metadata) {
		id, ok := strings.CutPrefix(key, exptypes.ExporterImageConfigKey)
		if !ok || id != "" && id[0] != '/' {
			continue
		}
		baseKey := exptypes.ExporterImageBaseConfigKey + id
		dated, base, err := dateConfig(config, metadata[baseKey], created)
		if err != nil {
			return fmt.Errorf("reading the image's configuration: %w", err)
		}
		metadata[key], metadata[baseKey] = dated, base
	}
	return nil
}

// dateConfig gives every step that is not the base's the time, and the base's
// configuration the same history. Other fields stay as they are.
func dateConfig(config, base []byte, created time.Time) (dated, datedBase []byte, err error) {
	of, history, err := fields(config)
	if err != nil {
		return nil, nil, err
	}
	baseOf, below, err := fields(base)
	if err != nil {
		return nil, nil, err
	}
	for i := range history {
		if i >= len(below) || history[i].Created == nil {
			history[i].Created = &created
		}
	}
	delete(of, "created") // becomes that of the last step
	if of["history"], err = json.Marshal(history); err != nil {
		return nil, nil, err
	}
	baseOf["history"] = of["history"]
	if dated, err = json.Marshal(of); err != nil {
		return nil, nil, err
	}
	datedBase, err = json.Marshal(baseOf)
	return dated, datedBase, err
}

// fields are those of an image configuration, which may be nil, and its history.
func fields(config []byte) (map[string]json.RawMessage, []ocispecs.History, error) {
	of := map[string]json.RawMessage{}
	var typed struct{ History []ocispecs.History }
	if config == nil {
		return of, nil, nil
	}
	err := errors.Join(json.Unmarshal(config, &of), json.Unmarshal(config, &typed))
	return of, typed.History, err
}
