package registry

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Where a registry says that an upload lies, and what is then sent there:
// nothing but the cancelling of an upload of its own.
func TestCheckPushCancels(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var sent []string
	note := func(who string, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, who+" "+r.Method+" "+r.URL.RequestURI())
	}
	victim := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("victim", r)
		w.WriteHeader(http.StatusNoContent)
	}))
	for _, tt := range []struct {
		name     string
		location string // HOST is the registry, VICTIM somebody else
		redirect int    // of the DELETE, to the victim
		want     string // the request that cancels, if any
	}{
		{"relative", "/v2/hello/blobs/uploads/1?_state=x", 0, "DELETE /v2/hello/blobs/uploads/1?_state=x"},
		{"absolute", "http://HOST/v2/hello/blobs/uploads/1", 0, "DELETE /v2/hello/blobs/uploads/1"},
		{"with a slash", "/v2/hello/blobs/uploads/1/", 0, "DELETE /v2/hello/blobs/uploads/1/"},
		{"another scheme", "https://HOST/v2/hello/blobs/uploads/1", 0, "DELETE /v2/hello/blobs/uploads/1"},
		{"none", "", 0, ""},
		{"no address", "http://[", 0, ""},
		{"another host", "http://VICTIM/containers/x?force=1", 0, ""},
		{"an upload of another host", "http://VICTIM/v2/hello/blobs/uploads/1", 0, ""},
		{"another host without a scheme", "//VICTIM/v2/hello/blobs/uploads/1", 0, ""},
		{"another user", "http://me:secret@HOST/v2/hello/blobs/uploads/1", 0, ""},
		{"another thing", "/v2/hello/manifests/latest", 0, ""},
		{"another thing by a detour", "/v2/hello/blobs/uploads/../../manifests/latest", 0, ""},
		{"another thing by a hidden detour", "/v2/hello/blobs/uploads/%2e%2e/%2e%2e/manifests/latest", 0, ""},
		{"beside the API", "/admin/blobs/uploads/1", 0, ""},
		{"redirected", "/v2/hello/blobs/uploads/1", http.StatusTemporaryRedirect, "DELETE /v2/hello/blobs/uploads/1"},
		{"moved", "/v2/hello/blobs/uploads/1", http.StatusPermanentRedirect, "DELETE /v2/hello/blobs/uploads/1"},
	} {
		var host string
		host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodPost:
				if tt.location != "" {
					w.Header().Set("Location", strings.NewReplacer("HOST", host, "VICTIM", victim).Replace(tt.location))
				}
				w.WriteHeader(http.StatusAccepted)
			case http.MethodDelete:
				note("registry", r)
				if tt.redirect != 0 {
					http.Redirect(w, r, "http://"+victim+"/containers/x", tt.redirect)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			}
		}))
		sent = nil
		if err := newTestClient(t, nil, Options{}).CheckPush(t.Context(), host+"/hello"); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		want := ""
		if tt.want != "" {
			want = "registry " + tt.want
		}
		if got := strings.Join(sent, ", "); got != want {
			t.Errorf("%s: sent %q, want %q", tt.name, got, want)
		}
	}
}
