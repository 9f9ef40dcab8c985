package config

import (
	"strings"
	"testing"
	"time"
)

func TestWriteOut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"pi@door.lan":         "pi@door.lan",
		"pi[1-3].lan":         "pi1.lan pi2.lan pi3.lan",
		"pi[08-11]":           "pi08 pi09 pi10 pi11",
		"r[1-2]-u[1-2]":       "r1-u1 r1-u2 r2-u1 r2-u2",
		"ssh://pi@[::1]:2222": "ssh://pi@[::1]:2222",
		"pi[3-1]":             "",
		"pi[1-9999]":          "",
		"a[1-100]b[1-100]":    "",
	} {
		got, err := writeOut(text)
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for host, want := range map[string]string{"pi@door.lan": "door.lan", "ssh://pi@[::1]:2222": "::1--2222", "door": "door"} {
		want = strings.Trim(strings.ReplaceAll(want, ":", "-"), "-")
		if got := hostWord(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `
target "app" { tags = ["localhost:5000/app:1"] }
device "door" { host = "pi@door.lan" }
device "lab" {
  hosts           = ["pi@pi[08-10].lan", "root@nas"]
  path            = "/opt/bin/docker"
  sudo            = true
  silence         = "2m"
  connect_timeout = "1m"
  optional        = true
}
release { devices_at_once = 3 }
`)
	var names []string
	for _, d := range c.Devices {
		names = append(names, d.Group+"/"+d.Name+"="+d.Host)
		if d.Group == "lab" && (!d.Sudo || !d.Optional || d.Runtime != "docker" || d.Silence != 2*time.Minute || d.ConnectTimeout != time.Minute || d.Hosts != nil) {
			t.Errorf("%+v", d)
		}
	}
	want := "/door=pi@door.lan lab/lab-pi08.lan=pi@pi08.lan lab/lab-pi09.lan=pi@pi09.lan lab/lab-pi10.lan=pi@pi10.lan lab/lab-nas=root@nas"
	if got := strings.Join(names, " "); got != want || c.Release.DevicesAtOnce != 3 {
		t.Errorf("got  %s, %d at once\nwant %s, 3", got, c.Release.DevicesAtOnce, want)
	}
}
