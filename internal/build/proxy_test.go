package build

import (
	"testing"

	"github.com/docker/cli/cli/config/configfile"
)

// The proxies of Docker's configuration reach the build under both their
// names; what a target's args say stands.
func TestProxies(t *testing.T) {
	t.Parallel()
	docker := &configfile.ConfigFile{Proxies: map[string]configfile.ProxyConfig{
		"default": {HTTPProxy: "http://127.0.0.1:3128", NoProxy: "localhost"},
	}}
	fa := map[string]string{"build-arg:NO_PROXY": "own"}
	addProxies(fa, docker)
	for k, want := range map[string]string{
		"HTTP_PROXY": "http://127.0.0.1:3128", "http_proxy": "http://127.0.0.1:3128", "NO_PROXY": "own", "no_proxy": "localhost",
	} {
		if got := fa["build-arg:"+k]; got != want {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	if _, ok := fa["build-arg:HTTPS_PROXY"]; ok {
		t.Error("a proxy that nobody configured")
	}
}
