package openssh

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"al.essio.dev/pkg/shellescape"
)

// hopConfig holds for the host and for every jump host on the way, as ssh hands
// its -F file on to them. The first value of an option wins. Nothing of the user's is handed on: no agent, no Kerberos
// ticket, no display, no network.
const hopConfig = `BatchMode yes
StrictHostKeyChecking yes
ConnectTimeout %d
ForwardAgent no
ForwardX11 no
GSSAPIDelegateCredentials no
PermitLocalCommand no
Tunnel no
`

// aliveConfig asks a silent host for a sign of life. Below the user's
// configuration it holds where that says nothing; a board that unpacks a layer may
// be silent for long.
const aliveConfig = `
Host *
ServerAliveInterval %d
ServerAliveCountMax %d
`

// aliveCount is how many questions may stay without an answer, and defaultSilence
// how long that may take together.
const (
	aliveCount     = 3
	defaultSilence = time.Minute
)

// pinScript is ssh's KnownHostsCommand for a pinned host key: it knows the key
// that the host shows if its fingerprint is the pinned one.
const pinScript = `#!/bin/sh
[ "$1" = %s ] && printf '%%s %%s %%s\n' "$2" "$3" "$4"
exit 0
`

// clientArgs are the arguments of the client that stays; what they name is
// written into the connection's directory.
func (c *Conn) clientArgs() ([]string, error) {
	o := c.options
	seconds := max(1, int((o.ConnectTimeout+time.Second-1)/time.Second))
	text := fmt.Sprintf(hopConfig, seconds)
	if o.Silence > 0 {
		text += alive(o.Silence)
	}
	if o.Config != "" {
		// What Include does not find it passes over, and looks for below ~/.ssh.
		path, err := filepath.Abs(o.Config)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return nil, &Error{Host: c.host, Kind: Unreachable, Reason: "its ssh configuration cannot be read: " + err.Error(), Hint: "fix ARCHMAGE_SSH_CONFIG, or unset it to use ~/.ssh/config"}
		}
		text += fmt.Sprintf("Include %q\n", path)
	} else {
		text += "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n"
	}
	text += alive(defaultSilence)
	conf := filepath.Join(c.dir, "config")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing ssh's configuration: %w", err)
	}
	args := []string{
		"-F", conf, "-M", "-S", c.socket(), "-T",
		"-o", "ControlPersist=no", "-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes",
		"-o", "LogLevel=DEBUG1", // tells the host key
	}
	switch {
	case o.HostKey != "":
		pin := filepath.Join(c.dir, "pin")
		if err := os.WriteFile(pin, fmt.Appendf(nil, pinScript, shellescape.Quote(o.HostKey)), 0o700); err != nil {
			return nil, fmt.Errorf("writing the host key's rule: %w", err)
		}
		args = append(args, "-o", "UserKnownHostsFile=none", "-o", "GlobalKnownHostsFile=none",
			"-o", "KnownHostsCommand="+pin+" %f %H %t %K")
	case o.AcceptNew:
		args = append(args, "-o", "StrictHostKeyChecking=accept-new")
	}
	if o.Port != 0 {
		args = append(args, "-p", strconv.Itoa(o.Port))
	}
	return append(args, "--", c.host, "exec cat"), nil
}

func alive(silence time.Duration) string {
	return fmt.Sprintf(aliveConfig, max(1, int(silence/time.Second)/aliveCount), aliveCount)
}
