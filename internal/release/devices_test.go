package release

import (
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/config"
)

func TestChooseDevices(t *testing.T) {
	t.Parallel()
	devices := []*config.Device{{Name: "door"}, {Name: "pi-1", Group: "pi"}, {Name: "pi-2", Group: "pi"}, {Name: "pip[1]"}}
	for names, want := range map[string]string{
		"":            "door pi-1 pi-2 pip[1]",
		"door":        "door",
		"pi":          "pi-1 pi-2",
		"pi*":         "pi-1 pi-2 pip[1]",
		"pi-2,door":   "door pi-2",
		"*-[12]":      "pi-1 pi-2",
		"pip[1]":      "pip[1]", // as it is spelt, before it is a pattern
		"pi,pi-1":     "pi-1 pi-2",
		"nas":         "",
		"door,window": "",
		"x*":          "",
		"[":           "",
	} {
		var only, got []string
		if names != "" {
			only = strings.Split(names, ",")
		}
		chosen, err := chooseDevices(devices, only)
		for _, d := range chosen {
			got = append(got, d.Name)
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", names, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "door, pi (a group), pip[1]") {
			t.Errorf("%q: %v; want those named that there are", names, err)
		}
	}
}
