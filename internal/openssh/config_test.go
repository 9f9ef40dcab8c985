package openssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// Whatever the user's own configuration says, nothing of theirs is handed on to
// a host. OpenSSH itself tells what it would do.
func TestNothingHandedOn(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("ssh")
	embeddedtest.Need(t, err == nil, "no ssh here")
	user := filepath.Join(t.TempDir(), "config")
	const text = `Host *
ForwardAgent yes
ForwardX11 yes
ForwardX11Trusted yes
GSSAPIAuthentication yes
GSSAPIDelegateCredentials yes
Tunnel yes
PermitLocalCommand yes
LocalCommand touch /nowhere/x
StrictHostKeyChecking no
BatchMode no
LocalForward 127.0.0.1:5000 127.0.0.1:5000
`
	if err := os.WriteFile(user, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Conn{host: "pi.example", program: program, options: Options{Config: user}, dir: t.TempDir()}
	args, err := c.clientArgs()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, append([]string{"-G"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := "\n" + string(out)
	for _, want := range []string{"forwardagent no", "forwardx11 no", "tunnel false", "permitlocalcommand no", "stricthostkeychecking true", "batchmode yes"} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("ssh does not say %q:\n%s", want, out)
		}
	}
	for _, not := range []string{"gssapidelegatecredentials yes", "localforward "} {
		if strings.Contains(got, "\n"+not) {
			t.Errorf("ssh says %q", not)
		}
	}
}

// A silent host has a minute, unless the user's configuration or the device's own
// says how long.
func TestSilenceIsTheUsers(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("ssh")
	embeddedtest.Need(t, err == nil, "no ssh here")
	for _, tt := range []struct {
		name, text string
		silence    time.Duration
		want       [2]string
	}{
		{"nothing said", "", 0, [2]string{"20", "3"}},
		{"the user's", "Host pi.*\n ServerAliveInterval 30\n ServerAliveCountMax 5\nHost other\n", 0, [2]string{"30", "5"}},
		{"for another host", "Host other\n ServerAliveInterval 1\n", 0, [2]string{"20", "3"}},
		{"an interval alone", "ServerAliveInterval 30\n", 0, [2]string{"30", "3"}},
		{"the device's own", "Host *\n ServerAliveInterval 30\n", 9 * time.Second, [2]string{"3", "3"}},
		{"shorter than can be asked", "", time.Second, [2]string{"1", "3"}},
	} {
		user := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(user, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &Conn{host: "pi.example", program: program, options: Options{Config: user, Silence: tt.silence}, dir: t.TempDir()}
		args, err := c.clientArgs()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, append([]string{"-G"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range []string{"serveraliveinterval", "serveralivecountmax"} {
			if want := "\n" + key + " " + tt.want[i] + "\n"; !strings.Contains("\n"+string(out), want) {
				t.Errorf("%s: no %q in:\n%s", tt.name, strings.TrimSpace(want), out)
			}
		}
	}
}
