package openssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
