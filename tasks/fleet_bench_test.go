package tasks_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

// twins are workers of one slot each, as narrow as small boards.
type twins struct {
	site    *site
	daemons []*hosttest.Daemon
	steps   int
}

// newTwins makes n workers and a targets.hcl of some builds, each a step of so
// many seconds.
func newTwins(b *testing.B, n, steps int, seconds string) *twins {
	b.Helper()
	w := &twins{site: newSite(b, compiled(b), embeddedtest.Registry(b)), steps: steps}
	var targets, workers strings.Builder
	for i := range steps {
		// No two are equal: BuildKit would run them once.
		targets.WriteString(sleeping(fmt.Sprintf("t%d", i), fmt.Sprintf("%s.%03d", seconds, i)))
	}
	for i := range n {
		d := hosttest.Start(b, hosttest.Options{Parallel: 1})
		w.daemons = append(w.daemons, d)
		workers.WriteString(workerBlock(fmt.Sprintf("w%d", i), d.Unix(), "slots = 1"))
	}
	w.site.targets(b, targets.String()+workers.String())
	w.site.bake(b, targets.String())
	return w
}

// bake writes bake.hcl, which is what buildx reads.
func (s *site) bake(b *testing.B, text string) {
	b.Helper()
	text = strings.ReplaceAll(text, "REPO", s.repo)
	if err := os.WriteFile(filepath.Join(s.dir, "bake.hcl"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// buildx makes a builder of these workers and returns what bakes on it and says
// how long that took.
func (s *site) buildx(b *testing.B, workers ...string) func(args ...string) time.Duration {
	b.Helper()
	buildx := embeddedtest.Peer(b, "buildx")
	env := append(slices.Clone(s.env), "BUILDX_CONFIG="+b.TempDir())
	call := func(args ...string) time.Duration {
		b.Helper()
		cmd := exec.Command(buildx, args...)
		cmd.Dir, cmd.Env = s.dir, env
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("buildx %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return time.Since(began)
	}
	for i, address := range workers {
		args := []string{"create", "--name=lab", "--driver=remote", fmt.Sprintf("--node=w%d", i)}
		if i > 0 {
			args = append(args, "--append")
		}
		call(append(args, address)...)
	}
	return func(args ...string) time.Duration {
		b.Helper()
		return call(append([]string{"bake", "--builder=lab", "--file=bake.hcl", "--provenance=false", "--set=*.output=type=registry"}, args...)...)
	}
}

// archmage is how long its build takes; disturb is called once all workers
// build.
func (w *twins) archmage(b *testing.B, disturb func()) time.Duration {
	b.Helper()
	r := w.site.start(b, "build", "-fresh")
	if disturb != nil {
		r.until(b, "all workers build", func() bool {
			for _, d := range w.daemons {
				if sleeps(d) == 0 {
					return false
				}
			}
			return true
		})
		disturb()
	}
	r.wait(b, 0)
	if got := len(w.site.record(b)); got != w.steps {
		b.Fatalf("%d of %d builds are in the record", got, w.steps)
	}
	return r.took
}

// peer is how long buildx takes for the same builds on the same workers.
func (w *twins) peer(b *testing.B) time.Duration {
	b.Helper()
	names, addresses := make([]string, w.steps), make([]string, len(w.daemons))
	for i := range names {
		names[i] = fmt.Sprintf("t%d", i)
	}
	for i, d := range w.daemons {
		addresses[i] = d.Unix()
	}
	return w.site.buildx(b, addresses...)(names...)
}

// compare reports archmage's time as a part of buildx's.
func compare(b *testing.B, workers, steps int, limit float64) {
	b.Helper()
	for b.Loop() {
		w := newTwins(b, workers, steps, "5")
		theirs, ours := w.peer(b), w.archmage(b, nil)
		ratio := ours.Seconds() / theirs.Seconds()
		b.ReportMetric(ours.Seconds(), "archmage-s")
		b.ReportMetric(theirs.Seconds(), "buildx-s")
		b.ReportMetric(ratio, "of-buildx")
		if ratio > limit {
			b.Errorf("archmage takes %.2f of buildx's time, more than %.2f", ratio, limit)
		}
	}
}

// Four steps of 5 s on two twins.
func BenchmarkTwoTwins(b *testing.B) { compare(b, 2, 4, 0.55) }

// Six on three: of four, two rounds remain, half of buildx's time at best.
func BenchmarkThreeTwins(b *testing.B) { compare(b, 3, 6, 0.4) }

// BenchmarkLoss is how much later a build of four steps on two twins ends when
// one of them is taken away in the middle.
func BenchmarkLoss(b *testing.B) {
	for name, take := range map[string]func(*testing.B, *hosttest.Daemon){
		"killed":  func(_ *testing.B, d *hosttest.Daemon) { d.Kill() },
		"stopped": func(b *testing.B, d *hosttest.Daemon) { d.Stop(b); b.Cleanup(func() { d.Continue(b) }) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w := newTwins(b, 2, 4, "5")
				calm := w.archmage(b, nil)
				late := w.archmage(b, func() { take(b, w.daemons[1]) }) - calm
				b.ReportMetric(calm.Seconds(), "calm-s")
				b.ReportMetric(late.Seconds(), "later-s")
				if late > 12*time.Second {
					b.Errorf("it ends %s later", late)
				}
			}
		})
	}
}

// BenchmarkStoppedMinute stops one of two workers for 60 s of a longer build:
// it is done without and taken back.
func BenchmarkStoppedMinute(b *testing.B) {
	for b.Loop() {
		w := newTwins(b, 2, 18, "6")
		took := w.archmage(b, func() {
			d := w.daemons[1]
			d.Stop(b)
			awake := time.AfterFunc(time.Minute, func() { d.Continue(b) })
			b.Cleanup(func() { awake.Stop(); d.Continue(b) })
		})
		back := 0
		for _, c := range w.site.record(b) {
			if c.Worker == "w1" {
				back++
			}
		}
		b.ReportMetric(took.Seconds(), "total-s")
		b.ReportMetric(float64(back), "builds-after-return")
		if back == 0 {
			b.Error("the worker was not taken back")
		}
	}
}

// BenchmarkWarm repeats a release of four platforms of which nothing has
// changed, in turn with `buildx bake --push` of the same on the same worker.
func BenchmarkWarm(b *testing.B) {
	s := newSite(b, compiled(b), embeddedtest.Registry(b))
	worker := embeddedtest.Worker(b).Address
	const text = `target "default" {
  platforms         = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"]
  tags              = ["REPO:TAG"]
  dockerfile-inline = "FROM scratch\nCOPY targets.hcl /targets.hcl"
}
`
	s.targets(b, strings.ReplaceAll(text, "TAG", "ours")+workerBlock("here", worker))
	s.bake(b, strings.ReplaceAll(text, "TAG", "theirs"))
	bake := s.buildx(b, worker)
	bake()
	s.run(b, 0, "release")
	var ours, theirs []time.Duration
	for b.Loop() {
		theirs = append(theirs, bake())
		r := s.start(b, "release")
		r.wait(b, 0)
		ours = append(ours, r.took)
	}
	ratio := median(ours).Seconds() / median(theirs).Seconds()
	b.ReportMetric(median(ours).Seconds(), "archmage-s")
	b.ReportMetric(median(theirs).Seconds(), "buildx-s")
	b.ReportMetric(ratio, "of-buildx")
	if ratio > 0.5 {
		b.Errorf("archmage takes %.2f of buildx's time, more than 0.5", ratio)
	}
}

// BenchmarkChanged releases and bakes, in turn, targets of four platforms of which
// one file has changed: images are built and pushed, tags move.
func BenchmarkChanged(b *testing.B) {
	for _, targets := range []int{1, 20, 50} {
		b.Run(fmt.Sprint(targets), func(b *testing.B) {
			s := newSite(b, compiled(b), embeddedtest.Registry(b))
			worker := embeddedtest.Worker(b).Address
			var names []string
			var text strings.Builder
			for i := range targets {
				names = append(names, fmt.Sprintf("%q", fmt.Sprint("t", i)))
				fmt.Fprintf(&text, `target "t%d" {
  platforms         = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"]
  tags              = ["REPO:t%d-TAG"]
  context           = "src%d"
  dockerfile-inline = "FROM scratch\nCOPY file /file\nCOPY other /other"
}
`, i, i, i)
				if err := os.MkdirAll(filepath.Join(s.dir, fmt.Sprint("src", i)), 0o755); err != nil {
					b.Fatal(err)
				}
			}
			fmt.Fprintf(&text, "group \"default\" { targets = [%s] }\n", strings.Join(names, ", "))
			change := func(what string) {
				b.Helper()
				for i := range targets {
					for _, name := range []string{"file", "other"} {
						if name == "other" && what != "first" {
							continue
						}
						if err := os.WriteFile(filepath.Join(s.dir, fmt.Sprint("src", i), name), fmt.Append(nil, what, i), 0o644); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			change("first")
			s.targets(b, strings.ReplaceAll(text.String(), "TAG", "ours")+"release { arch_tags = \"\" }\n"+workerBlock("here", worker, "slots = 8"))
			s.bake(b, strings.ReplaceAll(text.String(), "TAG", "theirs"))
			bake := s.buildx(b, worker)
			bake()
			s.run(b, 0, "release")
			var ours, theirs []time.Duration
			n := 0
			for b.Loop() {
				change(fmt.Sprint("theirs ", n))
				theirs = append(theirs, bake())
				change(fmt.Sprint("ours ", n))
				n++
				r := s.start(b, "release")
				r.wait(b, 0)
				ours = append(ours, r.took)
			}
			b.ReportMetric(median(ours).Seconds(), "archmage-s")
			b.ReportMetric(median(theirs).Seconds(), "buildx-s")
			b.ReportMetric(median(ours).Seconds()/median(theirs).Seconds(), "of-buildx")
		})
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
