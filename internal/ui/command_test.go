package ui

import "testing"

func TestCommands(t *testing.T) {
	t.Parallel()
	const text = "run `mage build -dryRun` first, or `mage wipe -workers -keep=48h`; `ssh` stays"
	for _, tt := range []struct {
		c    Commands
		want string
	}{
		{Commands{}, text},
		{Commands{Program: "go tool mage"}, "run `go tool mage build -dryRun` first, or `go tool mage wipe -workers -keep=48h`; `ssh` stays"},
		{Commands{Program: "mage", Prefix: "img:"}, "run `mage img:build -dryRun` first, or `mage img:wipe -workers -keep=48h`; `ssh` stays"},
		{Commands{Program: "archmage", Dashes: true}, "run `archmage build --dry-run` first, or `archmage wipe --workers --keep=48h`; `ssh` stays"},
	} {
		if got := tt.c.In(text); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.c, got, tt.want)
		}
	}
	if got := (Commands{Program: "mage", Prefix: "img:"}).In("run `mage assemble annotate` again"); got != "run `mage img:assemble img:annotate` again" {
		t.Error(got)
	}
}
