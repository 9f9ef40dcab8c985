package worker_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/worker"
)

const nobody = 65534

// TestNobodyElseWrites lets all that runs on this machine but the user's own
// program try to change what an embedded registry has.
func TestNobodyElseWrites(t *testing.T) {
	t.Parallel()
	embeddedtest.Need(t, os.Getuid() == 0, "only root may be another user")
	m := embeddedtest.Machine(t)
	port := embeddedtest.FreePort(t)
	host := fmt.Sprintf("localhost:%d", port)
	if _, err := m.StartRegistry(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	user, password, file, ok := m.RegistryLogin(host)
	if info, err := os.Stat(file); !ok || err != nil || info.Mode().Perm() != 0o600 || len(password) < 16 {
		t.Fatalf("login %t, file %v, %v; want a password of this user's alone", ok, info, err)
	}
	image, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	login := crane.WithAuth(authn.FromConfig(authn.AuthConfig{Username: user, Password: password}))
	if err := crane.Push(image, host+"/app:1", login); err != nil {
		t.Fatalf("the user's own push: %v", err)
	}
	was, err := crane.Digest(host + "/app:1") // without a login
	if err != nil {
		t.Fatalf("reading without a login: %v", err)
	}
	layers, _ := image.Layers()
	layer, _ := layers[0].Digest()
	upload := startUpload(t, host, user, password)

	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	requests := []struct{ method, path, body string }{
		{"PUT", "/v2/app/manifests/1", index},
		{"DELETE", "/v2/app/manifests/" + was, ""},
		{"DELETE", "/v2/app/blobs/" + layer.String(), ""},
		{"POST", "/v2/app/blobs/uploads/", ""},
		{"POST", "/v2/other/blobs/uploads/?mount=" + layer.String() + "&from=app", ""},
		{"PATCH", upload, "not a layer"},
	}
	text := func(i int, host, auth string) string {
		r := requests[i]
		return fmt.Sprintf("%s %s HTTP/1.0\r\nHost: %s\r\n%sContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: %d\r\n\r\n%s", r.method, r.path, host, auth, len(r.body), r.body)
	}
	refused := 0
	check := func(t *testing.T, who string, i int, answer string) {
		t.Helper()
		if strings.HasPrefix(answer, "HTTP/1.0 401") || strings.HasPrefix(answer, "HTTP/1.0 421") || answer == "" {
			refused++
			return
		}
		t.Errorf("%s: %s %s: %q; want it refused", who, requests[i].method, requests[i].path, answer)
	}

	w := connect(t)
	script := func(i int) string {
		return "printf '%s' " + quoted(text(i, host, "")) + " | busybox nc -w 5 127.0.0.1 " + fmt.Sprint(port) + " | busybox head -n 1"
	}
	for i := range requests {
		answer := step(t, w, script(i))
		if answer == "" {
			t.Errorf("a RUN step got no answer at all: it is not asking as it should")
		}
		check(t, "a RUN step", i, answer)

		answer = tested(t, w, script(i))
		check(t, "a tested image", i, answer)

		answer = as(t, nobody, func() string { return ask(port, text(i, host, "")) })
		check(t, "another user", i, answer)

		right := "Authorization: Basic " + basic(user, password) + "\r\n"
		answer = ask(port, text(i, "images.example", right))
		check(t, "a web page under another name", i, answer)
	}
	for _, at := range []string{"[::1]", "127.0.0.1", "[::]", "0.0.0.0"} {
		for _, share := range []bool{false, true} {
			if share && at[0] != '[' {
				continue
			}
			err := as(t, nobody, func() error {
				lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
					return c.Control(func(fd uintptr) {
						if share {
							_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
						}
					})
				}}
				network := "tcp4"
				if at[0] == '[' {
					network = "tcp6"
				}
				l, err := lc.Listen(context.Background(), network, fmt.Sprintf("%s:%d", at, port))
				if err == nil {
					_ = l.Close()
				}
				return err
			})
			if err == nil {
				t.Errorf("another user listens at %s (sharing: %t)", at, share)
				continue
			}
			refused++
		}
	}
	fmt.Printf("writes by others: %d of 30 refused\n", refused)
	if refused != 30 {
		t.Errorf("%d of 30 refused", refused)
	}
	if now, err := crane.Digest(host + "/app:1"); err != nil || now != was {
		t.Errorf("the tag is now %s (%v), not %s", now, err, was)
	}
}

// TestSquatter has another user at ::1 before the registry starts.
func TestSquatter(t *testing.T) {
	t.Parallel()
	embeddedtest.Need(t, os.Getuid() == 0, "only root may be another user")
	port := embeddedtest.FreePort(t)
	l := as(t, nobody, func() net.Listener {
		l, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", port))
		if err != nil {
			t.Error(err)
		}
		return l
	})
	if l == nil {
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("the other user got a login: %s", r.Header.Get("Authorization"))
		}
	}), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	m := embeddedtest.Machine(t)
	host := fmt.Sprintf("localhost:%d", port)
	if d, err := m.StartRegistry(t.Context(), host); err == nil || !strings.Contains(err.Error(), "uid 65534") {
		t.Errorf("%+v, %v; want the other user named", d, err)
	}
	if _, _, _, ok := m.RegistryLogin(host); ok {
		t.Error("there is a login for somebody else's registry")
	}
}

func startUpload(t *testing.T, host, user, password string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+"/v2/app/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("starting an upload: %s", resp.Status)
	}
	return resp.Header.Get("Location")
}

func basic(user, password string) string {
	req, _ := http.NewRequest(http.MethodGet, "/", nil)
	req.SetBasicAuth(user, password)
	return strings.TrimPrefix(req.Header.Get("Authorization"), "Basic ")
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ask sends a request as it is, and gives the first line of the answer.
func ask(port int, text string) string {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		return err.Error()
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// as runs f as another user: on a thread that ends with it.
func as[T any](t *testing.T, uid int, f func() T) T {
	t.Helper()
	out := make(chan T)
	go func() {
		runtime.LockOSThread()
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			t.Errorf("becoming uid %d: %v", uid, e)
		}
		out <- f()
	}()
	return <-out
}

// shell is an image of busybox alone, without a registry.
func shell(t *testing.T) (llb.State, map[string]fsutil.FS) {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(embeddedtest.Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/busybox", data, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	mkdir := &llb.CopyInfo{CreateDestPath: true}
	base := llb.Scratch().File(llb.Copy(llb.Local("bin"), "busybox", "/bin/busybox", mkdir)).
		File(llb.Copy(llb.Local("bin"), "busybox", "/bin/sh", mkdir)).AddEnv("PATH", "/bin")
	return base, map[string]fsutil.FS{"bin": files}
}

// step runs a script as a RUN step, and gives what it prints.
func step(t *testing.T, w *worker.Worker, script string) string {
	t.Helper()
	base, mounts := shell(t)
	def, err := base.Run(llb.Args([]string{"/bin/sh", "-c", script}), llb.IgnoreCache).Root().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	status, read := make(chan *client.SolveStatus), make(chan struct{})
	go func() {
		defer close(read)
		for s := range status {
			for _, l := range s.Logs {
				said.Write(l.Data)
			}
		}
	}()
	_, err = w.Client.Solve(t.Context(), def, client.SolveOpt{LocalMounts: mounts}, status)
	<-read
	if err != nil {
		t.Fatalf("the step: %v: %s", err, said.String())
	}
	return strings.TrimSpace(said.String())
}

// tested runs a script as smoke runs an image on a worker.
func tested(t *testing.T, w *worker.Worker, script string) string {
	t.Helper()
	program, err := os.ReadFile(embeddedtest.Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	for _, name := range []string{"bin/busybox", "bin/sh"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(program); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	host := registrytest.Serve(t)
	cfg := ocispecs.Image{Platform: w.Host, RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}}}
	cfg.Config.Entrypoint, cfg.Config.Env = []string{"/bin/sh", "-c"}, []string{"PATH=/bin"}
	img := registrytest.Push(t, host+"/shell", registrytest.Spec{Config: cfg, Layers: [][]byte{layer.Bytes()}})
	got, err := w.Run(t.Context(), worker.RunRequest{
		Ref: host + "/shell@" + img.Manifest.Digest.String(), Platform: w.Host, Args: []string{script}, Pull: time.Minute, Timeout: time.Minute, Output: 1 << 16,
	})
	if err != nil || got.TimedOut {
		t.Fatal(got, err)
	}
	return strings.TrimSpace(string(got.Stdout))
}
