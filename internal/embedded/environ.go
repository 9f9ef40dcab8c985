package embedded

import (
	"runtime"
	"slices"
	"strings"
)

// lookup returns the last value of key in environ, or "".
func lookup(environ []string, key string) string {
	value := ""
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			value = v
		}
	}
	return value
}

// targetVars choose for whom and with what the go tool compiles (go help
// environment). A release sets them for its own cross builds.
var targetVars = []string{
	"GOOS", "GOARCH", "GOFLAGS", "GOWORK", "GO111MODULE", "GOEXPERIMENT", "GOFIPS140",
	"GO386", "GOAMD64", "GOARM", "GOARM64", "GOMIPS", "GOMIPS64", "GOPPC64", "GORISCV64", "GOWASM",
	"CC", "CXX", "FC", "AR", "PKG_CONFIG",
}

// compileEnv returns environ for a compilation that runs on this machine, with
// the C compiler cc, or without cgo if cc is empty. Where modules come from and
// where caches lie (GOPROXY, GOMODCACHE, GOCACHE, HTTPS_PROXY and so on) stays
// the user's choice.
func compileEnv(environ []string, cc string) []string {
	env := make([]string, 0, len(environ)+6)
	for _, kv := range environ {
		key, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(key, "CGO_") || slices.Contains(targetVars, key) {
			continue
		}
		env = append(env, kv)
	}
	// Variables are set, not just left out: "go env -w" may hold others.
	env = append(env,
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH,
		"GOFLAGS=-mod=readonly", "GOWORK=off", "GO111MODULE=on")
	if cc == "" {
		return append(env, "CGO_ENABLED=0")
	}
	return append(env, "CGO_ENABLED=1", "CC="+cc)
}

// daemonVars are what a daemon may know of the user's environment. It lives
// longer than the task and runs foreign code, so it must not see, say, the
// tokens of a CI job.
var daemonVars = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"SYSTEMROOT", "USERPROFILE", "LOCALAPPDATA", // Windows
}

// daemonEnv returns the environment of a daemon: what it may know of environ,
// then extra.
func daemonEnv(environ []string, extra ...string) []string {
	var env []string
	for _, kv := range environ {
		if key, _, _ := strings.Cut(kv, "="); slices.Contains(daemonVars, key) {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}
