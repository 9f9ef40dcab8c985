//go:build linux

package worker_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/worker"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

// BuildKit in a container of a Docker Engine, by its address and by "auto".
func TestDockerContainer(t *testing.T) {
	lesser(t)
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	t.Setenv("DOCKER_HOST", e.Socket)
	t.Setenv("DOCKER_CONTEXT", "")
	e.Run(t, "import", "--change", `ENTRYPOINT ["/bin/buildkitd"]`, "--change", "ENV PATH=/bin", hosttest.Image(t), "buildkit:test")
	e.Run(t, "run", "--detach", "--privileged", "--network=host", "--name=bk", "--volume=bk:/var/lib/buildkit", "buildkit:test")
	defer func() {
		if t.Failed() {
			t.Log(e.Run(t, "logs", "bk"))
		}
	}()
	o := worker.Options{}
	embeddedtest.Await(t, "BuildKit in the container", 30*time.Second, func() bool {
		w, err := worker.Connect(t.Context(), &config.Worker{Name: "w"}, "docker-container://bk", o)
		if err == nil {
			_ = w.Close()
		}
		return err == nil
	})
	solves(t, &config.Worker{Address: "docker-container://bk"}, o)
	e.Run(t, "stop", "--time=5", "bk")
	refuses(t, &config.Worker{Address: "docker-container://bk"}, o, "not running")
	refuses(t, &config.Worker{Address: "docker-container://nobody"}, o, "No such container: nobody")

	machine, err := embedded.New(os.Environ(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	find := &worker.Finder{
		Machine: machine, Say: func(s string) { said = append(said, s) },
		Getenv: func(key string) string {
			return map[string]string{"ARCHMAGE_BUILDKIT_IMAGE": "buildkit:test"}[key]
		},
	}
	for range 2 { // started, then found
		address, err := find.Find(t.Context())
		if err != nil || address != "docker-container://archmage-buildkit" {
			t.Fatalf("auto found %q, %v, and said %q", address, err, said)
		}
		solves(t, &config.Worker{Address: address}, o)
	}
	if want := []string{"starting buildkit:test in the Docker Engine"}; !slices.Equal(said, want) {
		t.Errorf("auto said %q, want %q", said, want)
	}
	if stopped, err := worker.StopContainer(t.Context()); !stopped || err != nil {
		t.Errorf("stopping the container: %v, %v", stopped, err)
	}
	if stopped, err := worker.StopContainer(t.Context()); stopped || err != nil {
		t.Errorf("stopping it again: %v, %v", stopped, err)
	}
}

// lesser is a runc for machines whose root may not raise limits, as in most
// virtual machines for tests: there a privileged container is refused, since
// it asks for all capabilities. It goes ahead on the PATH. Elsewhere it is the
// machine's own.
func lesser(t *testing.T) string {
	t.Helper()
	runc := embeddedtest.Program(t, "runc", "runc")
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil || has == 1 {
		return runc
	}
	embeddedtest.Program(t, "jq", "jq")
	dir := t.TempDir()
	path := filepath.Join(dir, "runc")
	script := `#!/bin/sh
less() {
	[ -f "$2" ] && jq "$1" "$2" >"$2.less" && cat "$2.less" >"$2"
}
lesser='(.capabilities[]?) |= map(select(. != "CAP_SYS_RESOURCE")) | del(.rlimits)'
less ".process |= ($lesser)" config.json
previous=
for a; do
	case $previous in
	--bundle | -b) less ".process |= ($lesser)" "$a/config.json" ;;
	--process | -p) less "$lesser" "$a" ;;
	esac
	previous=$a
done
exec ` + runc + ` "$@"
`
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return path
}

// BuildKit in a container of podman.
func TestPodmanContainer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a container takes a while")
	}
	embeddedtest.Need(t, os.Getuid() == 0, "a privileged container needs root")
	embeddedtest.Program(t, "podman", "podman")
	runc := lesser(t)
	dir, err := os.MkdirTemp("", "amp") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", write("storage.conf", fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", dir+"/root", dir+"/run")))
	t.Setenv("CONTAINERS_CONF", write("containers.conf", fmt.Sprintf("[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n[engine.runtimes]\nrunc = [%q]\n", runc)))
	podman := func(args ...string) (string, error) {
		out, err := exec.Command("podman", args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	t.Cleanup(func() {
		_, _ = podman("rm", "--force", "--all", "--time=1", "--volumes") // it may never have started
		// Podman leaves its storage mounted, and what cleans up behind a
		// container may mount it again.
		embeddedtest.Await(t, "end of podman's mounts", 10*time.Second, func() bool {
			left, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
			if err != nil {
				t.Error(err)
			}
			for _, m := range slices.Backward(left) {
				_ = unix.Unmount(m.Mountpoint, unix.MNT_DETACH)
			}
			return os.RemoveAll(dir) == nil
		})
	})
	if out, err := podman("import", "--change", `ENTRYPOINT ["/bin/buildkitd"]`, "--change", "ENV=PATH=/bin", hosttest.Image(t), "buildkit:test"); err != nil {
		t.Fatalf("importing the image: %v: %s", err, out)
	}
	out, err := podman("run", "--detach", "--privileged", "--network=host", "--name=bk", "--volume=bk:/var/lib/buildkit", "localhost/buildkit:test")
	embeddedtest.Need(t, err == nil, "podman does not run containers here: "+out)
	defer func() {
		if t.Failed() {
			out, _ := podman("logs", "bk")
			t.Log(out)
		}
	}()
	embeddedtest.Await(t, "BuildKit in the container", 30*time.Second, func() bool {
		w, err := worker.Connect(t.Context(), &config.Worker{Name: "w"}, "podman-container://bk", worker.Options{})
		if err == nil {
			_ = w.Close()
		}
		return err == nil
	})
	solves(t, &config.Worker{Address: "podman-container://bk"}, worker.Options{})
	refuses(t, &config.Worker{Address: "podman-container://nobody"}, worker.Options{}, "no such container")
}

// kubectl and nerdctl are called as their users would call them; behind the
// stand-ins is a real daemon.
func TestExecTransports(t *testing.T) {
	d := hosttest.Start(t, hosttest.Options{})
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s|' \"$(basename \"$0\")\" \"$@\" >>%s/called\necho >>%s/called\nexec %s --addr %s dial-stdio\n",
		dir, dir, embeddedtest.Peer(t, "buildctl"), d.Unix())
	for _, name := range []string{"kubectl", "nerdctl"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for _, tc := range []struct{ address, want string }{
		{"kube-pod://bk-0?context=rack&namespace=ci&container=buildkitd", "kubectl|--context=rack|--namespace=ci|exec|--container=buildkitd|-i|bk-0|--|buildctl|dial-stdio|"},
		{"kube-pod://bk-0", "kubectl|--context=|--namespace=|exec|--container=|-i|bk-0|--|buildctl|dial-stdio|"},
		{"nerdctl-container://bk?namespace=ci", "nerdctl|exec|--namespace|ci|-i|bk|buildctl|dial-stdio|"},
	} {
		_ = os.Remove(filepath.Join(dir, "called"))
		solves(t, &config.Worker{Address: tc.address}, worker.Options{})
		called, err := os.ReadFile(filepath.Join(dir, "called"))
		if got := strings.TrimSpace(string(called)); err != nil || got != tc.want {
			t.Errorf("%s called %s, %v\nwant %s", tc.address, got, err, tc.want)
		}
	}
	broken := "#!/bin/sh\necho 'Error from server (NotFound): pods \"bk-0\" not found' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(broken), 0o700); err != nil {
		t.Fatal(err)
	}
	refuses(t, &config.Worker{Address: "kube-pod://bk-0"}, worker.Options{}, `pods "bk-0" not found`)
	refuses(t, &config.Worker{Address: "kube-pod://BK_0"}, worker.Options{}, `unsupported pod name: "BK_0"`)
}
