package build

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/archmage-build/archmage/internal/registry"
)

// A push from a worker that the registry turned down for the moment is made again;
// what the registry has against pushes is its error; what it has against the
// worker alone is told as that.
func TestPushFromWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	refuse := func(w http.ResponseWriter, message string) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"`+message+`"}]}`)
		return true
	}
	writes := func(req *http.Request) bool { return req.Method != http.MethodGet && req.Method != http.MethodHead }
	ofWorker := func(req *http.Request) bool { return strings.HasPrefix(req.UserAgent(), "buildkit/") }
	var limited, reset atomic.Int64
	for name, tt := range map[string]struct {
		wall   func(w http.ResponseWriter, req *http.Request) bool
		kind   registry.Kind // -1 where it passes
		reason string
	}{
		"too many": {func(w http.ResponseWriter, req *http.Request) bool {
			return writes(req) && ofWorker(req) && limited.Add(1) == 1 && refuse(w, "You have exceeded a secondary rate limit.")
		}, -1, ""},
		"broken": {func(_ http.ResponseWriter, req *http.Request) bool {
			if writes(req) && ofWorker(req) && reset.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		}, -1, ""},
		"denied": {func(w http.ResponseWriter, req *http.Request) bool {
			return writes(req) && refuse(w, "not for you")
		}, registry.Denied, "not for you"},
		"no repository": {func(w http.ResponseWriter, req *http.Request) bool {
			if !writes(req) {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"create it first"}]}`)
			return true
		}, registry.NoRepository, "makes none at a push"},
		"of the worker alone": {func(w http.ResponseWriter, req *http.Request) bool {
			return writes(req) && ofWorker(req) && refuse(w, "not from there")
		}, registry.Failed, `does not take the image from worker "rack"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := r.guarded(tt.wall)
			r := &rig{t: t, client: r.client, host: host, env: r.env, dir: r.dir, change: func(o *Options) { o.Registry = registryClient(t, host) }}
			res, err := r.try(r.spec(""))
			if tt.kind == -1 {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := registryClient(t, host).Head(t.Context(), r.repo()+"@"+res.Descriptor.Digest.String()); err != nil {
					t.Error(err)
				}
				return
			}
			var e *registry.Error
			if !errors.As(err, &e) || e.Kind != tt.kind || !strings.Contains(err.Error(), tt.reason) || e.Remedy() == "" {
				t.Errorf("%v, want kind %d and %q", err, tt.kind, tt.reason)
			}
		})
	}
}
