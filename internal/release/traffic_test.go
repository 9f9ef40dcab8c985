package release

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

func TestTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams, _, said := ui.Buffers(ui.Traits{Terminal: true, Width: 80})
		tr := &traffic{status: ui.NewStatus(streams.Err)}
		layer := registry.Progress{Repository: "r/app", Digest: "sha256:a", Size: 4_000_000}
		send := func(repository string, done, sent int64) {
			p := layer
			p.Repository, p.Done, p.Sent = repository, done, sent
			tr.report(p)
		}
		send("r/app", 1_000_000, 1_000_000) // by a build, which has its own display
		tr.begin()
		send("r/app", 1_000_000, 1_000_000)
		if said.Len() > 0 {
			t.Errorf("said at once: %q", said)
		}
		time.Sleep(2 * time.Second)
		send("r/mounted", 4_000_000, 0)
		send("r/other", 500_000, 500_000)
		send("r/app", 2_000_000, 2_000_000) // too soon to draw again
		if got := said.String(); !strings.Contains(got, "uploading: 1.5 MB of 8.0 MB so far") || strings.Count(got, "uploading") != 1 {
			t.Errorf("%q", got)
		}
		time.Sleep(time.Second / 2) // before the line is drawn again for its clock
		send("r/app", 0, 2_000_000) // once more from the start
		if got := said.String(); !strings.Contains(got, "uploading: 500.0 kB of 8.0 MB so far") {
			t.Errorf("%q", got)
		}
		tr.end()
		send("r/app", 4_000_000, 6_000_000)
		if got := said.String(); !strings.HasSuffix(got, "\x1b[2K") || strings.Count(got, "uploading") != 2 {
			t.Errorf("the line stays: %q", got)
		}
	})
}
