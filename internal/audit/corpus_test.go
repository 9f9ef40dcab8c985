package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/archmage-build/archmage/internal/audit"
)

// kit is what a case makes its image with.
type kit struct {
	repo
	c      *toolchain
	tamper *tampering
}

// one pushes an index of one image.
func (k *kit) one(i image) string { return k.index(k.push(i)) }

// goImage is a sound image of one static Go program.
func (k *kit) goImage(platform string) image {
	return image{platform: platform, config: entry("/hello"), layers: []layer{files(k.t, bin("hello", k.c.Go(k.t, platform)))}}
}

// wrong is an image that runs a program it was not built for.
func (k *kit) wrong(platform string, program []byte) string {
	return k.one(image{platform: platform, config: entry("/hello"), layers: []layer{files(k.t, bin("hello", program))}})
}

// corpusCase is one image. A broken one names the check that must find it and
// with what severity; a sound one names none, and no check may call it wrong.
type corpusCase struct {
	name     string
	id       string
	severity audit.Severity
	// path and chain are what the finding must name, chain joined by " → ";
	// empty ones are not compared.
	path, chain string
	// warned are the checks that may warn of a sound image, rightly.
	warned  []string
	options audit.Options
	make    func(k *kit) string
}

// TestCorpus audits broken and sound images made by real toolchains.
func TestCorpus(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it compiles for many platforms")
	}
	host, tamper := serve(t)
	compilers := newToolchain(t)
	client := newClient(t)
	cache := t.TempDir()
	var caught, broken, cleared, sound, skipped atomic.Int32
	run := func(t *testing.T, kind string, cases []corpusCase, each func(t *testing.T, c corpusCase, report *audit.Report)) {
		for i, c := range cases {
			t.Run(kind+"/"+strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				t.Cleanup(func() {
					if t.Skipped() {
						skipped.Add(1)
					}
				})
				k := &kit{repo: repo{t: t, host: host, path: fmt.Sprintf("%s/%d", kind, i)}, c: compilers, tamper: tamper}
				ref := c.make(k)
				o := c.options
				o.CacheDir = cache
				report, err := audit.Audit(t.Context(), audit.Registry(client), ref, o)
				if err != nil {
					t.Fatal(err)
				}
				each(t, c, report)
				// What was learnt of the layers must lead to the same verdict.
				again, err := audit.Audit(t.Context(), audit.Registry(client), ref, o)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := fmt.Sprint(again.Findings), fmt.Sprint(report.Findings); got != want {
					t.Errorf("the second audit finds\n%s\nnot\n%s", got, want)
				}
			})
		}
	}
	t.Run("all", func(t *testing.T) {
		run(t, "broken", brokenImages(), func(t *testing.T, c corpusCase, report *audit.Report) {
			broken.Add(1)
			for _, f := range report.Findings {
				if f.ID == c.id && f.Severity == c.severity && (c.path == "" || f.Path == c.path) && (c.chain == "" || f.Reached() == c.chain) {
					caught.Add(1)
					return
				}
			}
			said := ""
			for _, f := range report.Findings {
				said += "\n" + f.String() + "\n    " + f.Reached()
			}
			t.Errorf("no %s %s %s reached by %q among%s", c.severity, c.id, c.path, c.chain, said)
		})
		run(t, "sound", soundImages(), func(t *testing.T, c corpusCase, report *audit.Report) {
			sound.Add(1)
			if fails := report.Fails(audit.Error); len(fails) > 0 {
				t.Errorf("a sound image is accused: %q", fails)
				return
			}
			for _, f := range report.Fails(audit.Warning) {
				if !slices.Contains(c.warned, f.ID) {
					t.Errorf("a sound image is suspected: %s", f)
					return
				}
			}
			cleared.Add(1)
		})
	})
	t.Logf("broken: %d of %d caught with the right id; sound: %d of %d not accused; %d skipped", caught.Load(), broken.Load(), cleared.Load(), sound.Load(), skipped.Load())
	if skipped.Load() == 0 && (caught.Load() < 120 || cleared.Load() < 120) {
		t.Errorf("the corpus has %d broken and %d sound images, which is too few", caught.Load(), cleared.Load())
	}
}
