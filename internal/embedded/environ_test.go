package embedded

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func uid() string { return strconv.Itoa(os.Getuid()) }

func TestCompileEnv(t *testing.T) {
	t.Parallel()
	// What a prepare block of a release sets, and what the user chose.
	env := compileEnv([]string{
		"GOOS=plan9", "GOARCH=arm", "GOARM=6", "CGO_ENABLED=0", "CGO_CFLAGS=-m32", "CC=arm-linux-gnueabi-gcc",
		"GOFLAGS=-mod=vendor", "GOWORK=/x/go.work", "GOEXPERIMENT=none",
		"GOPROXY=https://goproxy.example", "GOCACHE=/c", "GOMODCACHE=/m", "HTTPS_PROXY=http://p:3128",
	}, "gcc")
	want := []string{
		"GOPROXY=https://goproxy.example", "GOCACHE=/c", "GOMODCACHE=/m", "HTTPS_PROXY=http://p:3128",
		"GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH, "GOFLAGS=-mod=readonly", "GOWORK=off", "GO111MODULE=on",
		"CGO_ENABLED=1", "CC=gcc",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if env := compileEnv(nil, ""); !slices.Contains(env, "CGO_ENABLED=0") {
		t.Errorf("without a C compiler: %q", env)
	}
}

func TestDaemonEnvKeepsSecretsFromDaemons(t *testing.T) {
	t.Parallel()
	got := daemonEnv([]string{"PATH=/bin", "GITHUB_TOKEN=s3cret", "DOCKER_AUTH_CONFIG={}", "https_proxy=p", "OTEL_EXPORTER_OTLP_ENDPOINT=x"}, "TMPDIR=/t")
	if diff := cmp.Diff([]string{"PATH=/bin", "https_proxy=p", "TMPDIR=/t"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
