package smoke_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/smoke"
)

func platform(t *testing.T, name string) ocispecs.Platform {
	t.Helper()
	p, err := config.ParsePlatform(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// publish pushes an index of images of the probe; broken ones hold the program
// of the platform named, or "garbage".
func publish(t *testing.T, repo, tag string, broken map[string]string, names ...string) *smoke.Target {
	t.Helper()
	var index ocispecs.Index
	for _, n := range names {
		p, runs := platform(t, n), platform(t, n)
		if other := broken[n]; other != "" && other != "garbage" {
			runs = platform(t, other)
		}
		program := []byte("\x7fELF of no processor")
		if broken[n] != "garbage" {
			program = devicetest.Program(t, runs)
		}
		cfg, layer := devicetest.Image(t, p, program)
		img := registrytest.Push(t, repo, registrytest.Spec{Config: cfg, Layers: [][]byte{layer}, Attested: true})
		desc := img.Manifest
		desc.Platform = &p
		index.Manifests = append(index.Manifests, desc, img.Attestation)
	}
	index.SchemaVersion, index.MediaType = 2, ocispecs.MediaTypeImageIndex
	ref := repo + ":" + tag
	if tag == "" {
		ref = repo + "@" + registrytest.PushIndex(t, repo, index).Digest.String()
	} else {
		putTag(t, repo, tag, index)
	}
	client, err := registry.New(nil, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	target, err := smoke.Read(t.Context(), client, ref)
	if err != nil {
		t.Fatal(err)
	}
	target.Name = "app"
	target.Cases = []*config.Smoke{{
		Command: []string{"version"}, Timeout: time.Minute, Expect: &config.Expect{Stdout: []string{"^probe linux/"}, NotStdout: []string{"panic"}},
	}}
	return target
}

// bench starts an SSH server in front of an engine, as a device.
func bench(t *testing.T, e *devicetest.Engine, spec config.Device, env map[string]string) (*device.Device, *sshtest.Server) {
	t.Helper()
	if env == nil {
		env = map[string]string{}
	}
	env["DOCKER_HOST"] = e.Socket
	s := sshtest.Start(t, sshtest.Options{Env: env})
	spec.Host = s.Alias
	d := device.New(&spec, device.Options{SSHConfig: s.Config, Owner: "test", Connect: time.Minute})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, s
}

// machines are programs that make a device say it is another machine: with
// QEMU behind it, all but the processor's own name is as on that machine.
func machines(t *testing.T, machine string) string {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\ncase \"$1\" in -m) echo " + machine + " ;; *) exec /usr/bin/uname \"$@\" ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "uname"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
}

func needARM(t *testing.T) {
	t.Helper()
	for _, name := range []string{"qemu-arm", "qemu-aarch64"} {
		state, err := os.ReadFile("/proc/sys/fs/binfmt_misc/" + name)
		embeddedtest.Need(t, err == nil && strings.HasPrefix(string(state), "enabled"), "no binfmt handler "+name+" (Debian's qemu-user-static, binfmt-support)")
	}
}

func byDevice(t *testing.T, r *smoke.Report) map[string]smoke.Result {
	t.Helper()
	out := map[string]smoke.Result{}
	for _, x := range r.Results {
		if _, ok := out[x.Device]; ok {
			t.Errorf("two results of %s", x.Device)
		}
		out[x.Device] = x
	}
	return out
}

// The drill of the issue: v6, v7, arm64 and amd64 devices, one of them given a
// broken image; mended, all pass; after promotion the tag gives what passed.
func TestFourDevices(t *testing.T) {
	t.Parallel()
	needARM(t)
	names := []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"}
	var provers []smoke.Prover
	var devices []*device.Device
	var servers []*sshtest.Server
	for name, d := range map[string]struct {
		machine string
		spec    config.Device
	}{
		"v6": {"armv6l", config.Device{}}, "v7": {"armv7l", config.Device{}}, "v8": {"aarch64", config.Device{}}, "pc": {"x86_64", config.Device{}},
		// An amd64 machine that is asked to run v6 does so by QEMU alone.
		"emulator": {"x86_64", config.Device{Platform: ptr(platform(t, "linux/arm/v6")), Optional: true}},
	} {
		e := devicetest.Docker(t, devicetest.EngineOptions{})
		env := map[string]string{"PATH": machines(t, d.machine)}
		d.spec.Name = name
		if d.machine != "x86_64" {
			env["DOCKER_DEFAULT_PLATFORM"] = map[string]string{"armv6l": "linux/arm/v6", "armv7l": "linux/arm/v7", "aarch64": "linux/arm64"}[d.machine]
		}
		dev, s := bench(t, e, d.spec, env)
		devices, servers = append(devices, dev), append(servers, s)
		provers = append(provers, smoke.OnDevice(dev))
	}
	host := registrytest.Serve(t)
	logs := t.TempDir()

	broken := publish(t, host+"/app", "", map[string]string{"linux/arm/v7": "garbage"}, names...)
	report, err := smoke.Run(t.Context(), provers, []*smoke.Target{broken}, smoke.Options{LogDir: logs, Wipe: true})
	if err != nil {
		t.Fatal(err)
	}
	got := byDevice(t, report)
	for name, want := range map[string]smoke.Verdict{"pc": smoke.Passed, "v6": smoke.Passed, "v8": smoke.Passed, "v7": smoke.WrongPlatform, "emulator": smoke.Emulated} {
		if got[name].Verdict != want {
			t.Errorf("%s: %+v, want %s", name, got[name], want)
		}
	}
	if err := report.Err(smoke.Policy{}); err == nil || !strings.Contains(err.Error(), "app linux/arm/v7 is for another platform than v7") || strings.Contains(err.Error(), "pc") {
		t.Errorf("the policy says %v", err)
	}
	if len(report.Unproven) != 1 || report.Unproven[0].Platform != "linux/arm/v7" {
		t.Errorf("unproven: %+v", report.Unproven)
	}

	mended := publish(t, host+"/app", "latest", nil, names...)
	report, err = smoke.Run(t.Context(), provers, []*smoke.Target{mended}, smoke.Options{LogDir: logs, Wipe: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(smoke.Policy{Require: []ocispecs.Platform{platform(t, "linux/arm/v6"), platform(t, "linux/arm/v7")}}); err != nil {
		t.Error(err)
	}
	for name, x := range byDevice(t, report) {
		text, err := os.ReadFile(x.Log)
		if err != nil || !strings.Contains(string(text), "probe linux/") || !strings.Contains(x.Tail, "probe linux/") {
			t.Errorf("%s: its log %q holds %q (%v)", name, x.Log, text, err)
		}
		t.Logf("%-8s %-14s %-9s pull %.2fs, run %.2fs", name, x.Platform, x.Verdict, x.Pull, x.Seconds)
	}

	tags, err := smoke.VerifyTags(t.Context(), provers, []*smoke.Target{mended}, report, smoke.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range byDevice(t, tags) {
		if want := map[bool]smoke.Verdict{false: smoke.Passed, true: smoke.Skipped}[name == "emulator"]; x.Verdict != want {
			t.Errorf("tag on %s: %+v, want %s", name, x, want)
		}
	}
	// Somebody moves the tag.
	publish(t, host+"/app", "latest", map[string]string{"linux/arm/v6": "linux/arm/v7"}, names...)
	tags, err = smoke.VerifyTags(t.Context(), provers, []*smoke.Target{mended}, report, smoke.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range byDevice(t, tags) {
		if want := map[string]smoke.Verdict{"v6": smoke.WrongPlatform, "emulator": smoke.Skipped, "v7": smoke.Passed, "v8": smoke.Passed, "pc": smoke.Passed}[name]; x.Verdict != want {
			t.Errorf("moved tag on %s: %+v, want %s", name, x, want)
		}
	}
	for i, s := range servers {
		if n := s.Logins(); n != 1 {
			t.Errorf("%s: %d connections, want 1", devices[i].Spec.Name, n)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// 16 devices, a container of 3 s each: they must not wait for one another.
func TestSixteenDevices(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	target := publish(t, registrytest.Serve(t)+"/app", "", nil, "linux/amd64")
	target.Cases = []*config.Smoke{{Command: []string{"sleep", "3s"}, Timeout: time.Minute, Expect: &config.Expect{Stdout: []string{"slept"}}}}
	var provers []smoke.Prover
	var servers []*sshtest.Server
	for i := range 16 {
		d, s := bench(t, e, config.Device{Name: fmt.Sprintf("d%02d", i), Platform: ptr(platform(t, "linux/amd64"))}, nil)
		servers, provers = append(servers, s), append(provers, smoke.OnDevice(d))
	}
	report, err := smoke.Run(t.Context(), provers, []*smoke.Target{target}, smoke.Options{Close: true})
	if err != nil {
		t.Fatal(err)
	}
	slowest := 0.0
	for _, d := range report.Devices {
		slowest = max(slowest, d.Seconds)
	}
	for _, x := range report.Results {
		if x.Verdict != smoke.Passed && x.Verdict != smoke.Emulated {
			t.Errorf("%+v", x)
		}
	}
	for _, s := range servers {
		if s.Logins() != 1 {
			t.Errorf("%d connections, want 1", s.Logins())
		}
	}
	t.Logf("all: %.2f s, the slowest: %.2f s, in a row: %d s and more", report.Seconds, slowest, 16*3)
	if report.Seconds > 1.3*slowest {
		t.Errorf("%.2f s is more than 1.3 times the slowest one's %.2f s", report.Seconds, slowest)
	}
}

// A device that hangs is given up in time and holds up nobody; Ctrl-C ends
// all and leaves nothing.
func TestHangingDevice(t *testing.T) {
	t.Parallel()
	e := devicetest.Docker(t, devicetest.EngineOptions{})
	target := publish(t, registrytest.Serve(t)+"/app", "", nil, "linux/amd64")
	// Long enough for the other device on a busy machine.
	const limit, silence = 12 * time.Second, 9 * time.Second
	target.Cases = []*config.Smoke{{Command: []string{"sleep", "1s"}, Timeout: limit}, {Command: []string{"version"}, Timeout: limit}}
	fine, _ := bench(t, e, config.Device{Name: "fine"}, nil)
	hangs, server := bench(t, e, config.Device{Name: "hangs", Optional: true, Silence: silence}, nil)
	if _, err := hangs.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	var stopped []int
	var once sync.Once
	t.Cleanup(func() {
		for _, pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	at := map[string]time.Time{}
	report, err := smoke.Run(t.Context(), []smoke.Prover{smoke.OnDevice(hangs), smoke.OnDevice(fine)}, []*smoke.Target{target}, smoke.Options{Event: func(v smoke.Event) {
		if v.Device == "hangs" && v.State == "running" {
			once.Do(func() {
				stopped = server.Sessions(t)
				for _, pid := range stopped {
					_ = syscall.Kill(pid, syscall.SIGSTOP)
				}
			})
		}
		at[strings.Join([]string{v.Device, v.Case, v.State}, " ")] = time.Now()
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r := report.Cell("fine", "app"); r != smoke.Passed {
		t.Errorf("the other device: %s", r)
	}
	if !at["fine  done"].Before(at["hangs version done"]) {
		t.Error("the other device waited")
	}
	for i, name := range []string{"sleep 1s", "version"} {
		// The connection may be found dead before the time is over, and the case run
		// once more over another, which is not stopped.
		if v := report.Results[i].Verdict; v != smoke.TimedOut && v != smoke.Unreachable && v != smoke.Passed {
			t.Errorf("%s on the one that hangs: %s", name, v)
		}
		took := at["hangs "+name+" done"].Sub(at["hangs "+name+" running"])
		t.Logf("%s was given up after %s", name, took)
		if took > silence+2*limit+10*time.Second {
			t.Errorf("%s was given up after %s: its timeout is %s", name, took, limit)
		}
	}

	t.Run("interrupted", func(t *testing.T) {
		target.Cases = []*config.Smoke{{Command: []string{"stubborn"}, Timeout: time.Hour}}
		ctx, cancel := context.WithCancel(t.Context())
		report, err := smoke.Run(ctx, []smoke.Prover{smoke.OnDevice(fine)}, []*smoke.Target{target}, smoke.Options{Event: func(v smoke.Event) {
			if v.State == "running" {
				go func() {
					embeddedtest.Await(t, "container", 10*time.Second, func() bool { return e.Run(t, "ps", "-q") != "" })
					cancel()
				}()
			}
		}})
		if err == nil || len(report.Results) != 0 {
			t.Errorf("%v, %+v; want the interruption and no verdict", err, report.Results)
		}
		embeddedtest.Await(t, "end of all containers", 5*time.Second, func() bool { return len(e.Containers(t)) == 0 })
	})
}

// engineScript is a container runtime whose containers last a tenth of a
// second: 200 real engines do not fit on one machine.
const engineScript = `#!/bin/sh
image='[{"Id":"%s","Os":"linux","Architecture":"amd64","RootFS":{"Layers":["sha256:a"]}}]'
case "$1" in
version) echo "20.10 amd64" ;;
info) echo / ;;
image) echo "$image" ;;
start) sleep 0.1; echo probe linux/amd64 ;;
inspect) echo '{"ExitCode":0,"Status":"exited","StartedAt":"2026-01-01T00:00:00Z"}' ;;
esac
`

// fleet is how many devices TestManyDevices has. Every one costs about six
// processes of OpenSSH, so 200 are for a quiet machine of their own:
//
//	go test ./internal/smoke -run TestManyDevices -devices=200
var fleet = flag.Int("devices", 24, "how many devices to prove on at once")

// raced is whether the race detector is on, which takes memory many times over.
var raced bool

func TestManyDevices(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: many connections take a while")
	}
	target := publish(t, registrytest.Serve(t)+"/app", "", nil, "linux/amd64")
	target.Cases[0].Timeout = 5 * time.Minute  // of a machine that is busy with all of them
	target.Repository = "registry.invalid/app" // nothing is pulled: the engines are scripts
	target.Index = ""                          // the engines are too simple to be asked what they pick
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), fmt.Appendf(nil, engineScript, target.Children[0].Config), 0o755); err != nil {
		t.Fatal(err)
	}
	s := sshtest.Start(t, sshtest.Options{Env: map[string]string{"PATH": dir + ":/usr/bin:/bin"}, Lines: []string{"MaxStartups 500"}})
	var provers []smoke.Prover
	for i := range *fleet {
		d := device.New(&config.Device{Name: fmt.Sprintf("d%03d", i), Host: s.Alias, Platform: ptr(platform(t, "linux/amd64"))}, device.Options{SSHConfig: s.Config, Owner: "test", Connect: time.Minute})
		provers = append(provers, smoke.OnDevice(d))
	}
	var most struct{ files, memory, own int }
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(250 * time.Millisecond): // smaps are not free
			}
			most.files = max(most.files, files(t))
			own, clients := memory()
			most.own, most.memory = max(most.own, own), max(most.memory, own+clients)
		}
	}()
	report, err := smoke.Run(t.Context(), provers, []*smoke.Target{target}, smoke.Options{Close: true})
	close(stop)
	<-watched
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d devices in %.1f s; at most %d MB (this process %d MB), %d files", *fleet, report.Seconds, most.memory>>20, most.own>>20, most.files)
	if len(report.Results) != *fleet {
		t.Errorf("%d results", len(report.Results))
	}
	for _, x := range report.Results {
		if x.Verdict != smoke.Passed && x.Verdict != smoke.Emulated {
			t.Fatalf("%+v", x)
		}
	}
	if n := s.Logins(); n != *fleet {
		t.Errorf("%d connections, want %d", n, *fleet)
	}
	if !raced && most.memory > 500<<20 {
		t.Errorf("%d MB, want less than 500", most.memory>>20)
	}
	if most.files > 600 {
		t.Errorf("%d open files, want a bound", most.files)
	}
	if left := clientsOf(s.Alias); len(left) > 0 {
		t.Errorf("%d clients are left", len(left))
	}
}

func files(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	return len(list)
}

// memory is what this process and its ssh clients have to themselves, in bytes.
func memory() (own, clients int) {
	read := func(pid string) int {
		text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if err != nil {
			return 0 // it has just ended
		}
		sum := 0
		for line := range strings.SplitSeq(string(text), "\n") {
			if strings.HasPrefix(line, "Private_") {
				kb, _ := strconv.Atoi(strings.Fields(line)[1])
				sum += kb << 10
			}
		}
		return sum
	}
	for _, pid := range clientsOf("") {
		clients += read(pid)
	}
	return read("self"), clients
}

// clientsOf are the ssh clients of this process that stay connected to a host;
// all for "".
func clientsOf(alias string) []string {
	var out []string
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, pid := range strings.Fields(string(text)) {
			line, err := os.ReadFile("/proc/" + pid + "/cmdline") // nothing if it has just ended
			if err == nil && strings.HasPrefix(string(line), "ssh\x00") || strings.Contains(string(line), "/ssh\x00") {
				if strings.Contains(string(line), alias) {
					out = append(out, pid)
				}
			}
		}
	}
	return out
}

func putTag(t *testing.T, repo, tag string, index ocispecs.Index) {
	t.Helper()
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	registrytest.Put(t, repo, tag, ocispecs.MediaTypeImageIndex, raw)
}
