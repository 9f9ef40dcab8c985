package worker_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/worker"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

// solves proves a transport: a solve whose result comes back over the session.
func solves(t *testing.T, spec *config.Worker, o worker.Options) *worker.Worker {
	t.Helper()
	spec.Name = "w"
	w, err := worker.Connect(t.Context(), spec, spec.Address, o)
	if err != nil {
		t.Fatalf("connecting to %s: %v", spec.Address, err)
	}
	t.Cleanup(func() { _ = w.Close() })
	def, err := llb.Scratch().File(llb.Mkfile("/answer", 0o644, []byte("from "+spec.Address))).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if _, err := w.Client.Solve(t.Context(), def, client.SolveOpt{
		Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	}, nil); err != nil {
		t.Fatalf("solving over %s: %v", spec.Address, err)
	}
	got, err := os.ReadFile(filepath.Join(out, "answer"))
	if err != nil || string(got) != "from "+spec.Address {
		t.Fatalf("the result over %s is %q, %v", spec.Address, got, err)
	}
	return w
}

// refuses wants words about why a worker cannot be used, what to do, and that
// within a bounded time.
func refuses(t *testing.T, spec *config.Worker, o worker.Options, want string) {
	t.Helper()
	spec.Name = "w"
	start := time.Now()
	w, err := worker.Connect(t.Context(), spec, spec.Address, o)
	if err == nil {
		_ = w.Close()
		t.Fatalf("%s was accepted", spec.Address)
	}
	var ce *worker.ConnectError
	if !errors.As(err, &ce) || !strings.Contains(err.Error(), want) || ce.Remedy() == "" {
		t.Errorf("%s: %v\nwant a ConnectError that says %q and what to do", spec.Address, err, want)
	}
	if took := time.Since(start); took > worker.ConnectTimeout+3*time.Second {
		t.Errorf("%s: it took %s", spec.Address, took)
	}
	t.Log(err, "- next:", ce.Remedy())
}

func TestPlainTransports(t *testing.T) {
	t.Parallel()
	d := hosttest.Start(t, hosttest.Options{Port: embeddedtest.FreePort(t), Platforms: []string{"linux/arm64"}})
	for _, address := range []string{d.Unix(), d.TCP} {
		w := solves(t, &config.Worker{Address: address}, worker.Options{})
		if got := config.FormatPlatform(w.Host); got != "linux/arm64" || w.Version == "" {
			t.Errorf("%s reports %s and version %q", address, got, w.Version)
		}
	}
	ca := hosttest.NewAuthority(t)
	refuses(t, &config.Worker{Address: d.TCP, TLS: &config.TLS{CA: ca.File}}, worker.Options{}, "it does not speak TLS")
	t.Run("stopped", func(t *testing.T) {
		d.Stop(t)
		defer d.Continue(t)
		refuses(t, &config.Worker{Address: d.Unix()}, worker.Options{}, "no answer within")
	})
	t.Run("killed", func(t *testing.T) {
		d.Kill()
		refuses(t, &config.Worker{Address: d.TCP}, worker.Options{}, "connection refused")
		refuses(t, &config.Worker{Address: d.Unix()}, worker.Options{}, "connection refused")
	})
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	ca, other := hosttest.NewAuthority(t), hosttest.NewAuthority(t)
	server, client := ca.Sign(t, soon, "rack", "127.0.0.1"), ca.Sign(t, soon)
	named := ca.Sign(t, soon, "rack")
	d := hosttest.Start(t, hosttest.Options{Port: embeddedtest.FreePort(t), Certificate: server})
	n := hosttest.Start(t, hosttest.Options{Port: embeddedtest.FreePort(t), Certificate: named})
	old := hosttest.Start(t, hosttest.Options{Port: embeddedtest.FreePort(t), Certificate: ca.Sign(t, past, "127.0.0.1")})

	solves(t, &config.Worker{Address: d.TCP, TLS: &config.TLS{CA: ca.File, Cert: client.Cert, Key: client.Key}}, worker.Options{})
	solves(t, &config.Worker{Address: n.TCP, TLS: &config.TLS{CA: ca.File, Cert: client.Cert, Key: client.Key, ServerName: "rack"}}, worker.Options{})

	expired, foreign := ca.Sign(t, past), other.Sign(t, soon)
	for name, tc := range map[string]struct {
		address string
		tls     *config.TLS
		want    string
	}{
		"another name":      {d.TCP, &config.TLS{CA: ca.File, Cert: client.Cert, Key: client.Key, ServerName: "shed"}, "its certificate is for another name"},
		"a name only":       {n.TCP, &config.TLS{CA: ca.File, Cert: client.Cert, Key: client.Key}, "its certificate is for a name, not for the address"},
		"expired server":    {old.TCP, &config.TLS{CA: ca.File, Cert: client.Cert, Key: client.Key}, "its certificate has expired"},
		"unknown authority": {d.TCP, &config.TLS{CA: other.File, Cert: client.Cert, Key: client.Key}, "its certificate is signed by somebody not trusted here"},
		"no client":         {d.TCP, &config.TLS{CA: ca.File}, "it wants a client certificate"},
		"expired client":    {d.TCP, &config.TLS{CA: ca.File, Cert: expired.Cert, Key: expired.Key}, "it refuses the client certificate, which has expired"},
		"foreign client":    {d.TCP, &config.TLS{CA: ca.File, Cert: foreign.Cert, Key: foreign.Key}, "it refuses the client certificate: its authority"},
		"missing file":      {d.TCP, &config.TLS{CA: ca.File, Cert: "/nowhere.pem", Key: client.Key}, "the client certificate of its tls block cannot be read: open /nowhere.pem"},
		"missing authority": {d.TCP, &config.TLS{CA: "/nowhere.pem", Cert: client.Cert, Key: client.Key}, "/nowhere.pem"},
		"mixed up":          {d.TCP, &config.TLS{CA: ca.File, Cert: client.Cert, Key: foreign.Key}, "do not belong together"},
		"no tls block":      {d.TCP, nil, "it speaks TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, &config.Worker{Address: tc.address, TLS: tc.tls}, worker.Options{}, tc.want)
		})
	}
}
