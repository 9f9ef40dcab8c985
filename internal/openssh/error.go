package openssh

import (
	"fmt"
	"regexp"
	"strings"
)

// Error says why a host cannot be reached.
type Error struct {
	Host   string
	Reason string
	Hint   string
}

func (e *Error) Error() string { return fmt.Sprintf("host %q %s", e.Host, e.Reason) }

// Remedy is what to do next.
func (e *Error) Remedy() string { return e.Hint }

var fingerprint = regexp.MustCompile(`SHA256:[A-Za-z0-9+/=]+`)

// explain turns what OpenSSH printed into words. The texts are those of its
// sshconnect.c and readconf.c.
func explain(host, stderr string) error {
	said := strings.ReplaceAll(stderr, connected+"\n", "")
	has := func(s string) bool { return strings.Contains(said, s) }
	e := &Error{Host: host, Hint: "try `ssh " + host + " true` by hand"}
	switch {
	case has("REMOTE HOST IDENTIFICATION HAS CHANGED"):
		e.Reason = "shows another host key than before (" + fingerprint.FindString(said) + "), and is not trusted"
		e.Hint = "if the host was set up anew, remove the old key with `ssh-keygen -R` and look at the new one; if not, somebody stands in between"
	case has("Host key verification failed"), has("host key is known for"):
		e.Reason = "is not known: its key is in no known_hosts file"
		if f := fingerprint.FindString(said); f != "" {
			e.Reason += " (" + f + ")"
		}
		e.Hint = "connect once by hand (`ssh " + host + "`) and compare its fingerprint with the one the host shows (`ssh-keygen -lf`)"
	case has("Permission denied"):
		e.Reason = "refuses us: " + lastLine(said)
		e.Hint = "check the user and the key: `ssh " + host + " true` must work without a password (agent, IdentityFile, authorized_keys)"
	case has("Could not resolve hostname"):
		e.Reason = "has no address: " + lastLine(said)
		e.Hint = "check the name, ~/.ssh/config and the DNS"
	case has("Connection refused"):
		e.Reason = "refuses the connection"
		e.Hint = "check the port, and that sshd runs there"
	case has("Connection timed out"), has("Operation timed out"), has("No route to host"), has("Network is unreachable"):
		e.Reason = "does not answer: " + lastLine(said)
		e.Hint = "check the network and that the host is on"
	case has("remote port forwarding failed"):
		e.Reason = "does not let us listen on a port of its loopback: " + lastLine(said)
		e.Hint = "free the port on the host, and allow AllowTcpForwarding in its sshd_config"
	case has("Timeout, server"), has("Broken pipe"), has("Connection reset"), has("closed by remote host"), has("kex_exchange_identification"):
		e.Reason = "ended the connection: " + lastLine(said)
		e.Hint = "check the host and the network; MaxStartups in its sshd_config may be too low"
	case strings.TrimSpace(said) == "":
		e.Reason = "ended the connection without a word"
	default:
		e.Reason = "cannot be reached: " + lastLine(said)
	}
	if has("UNKNOWN port 65535") || has("stdio forwarding failed") {
		e.Reason = "cannot be reached through its jump host: " + culprit(said)
		e.Hint = "check the jump host by itself (ProxyJump or ProxyCommand of ~/.ssh/config), and that it reaches the host"
	}
	return e
}

// culprit is the first line in which ssh itself names what failed; what comes
// after it are consequences.
func culprit(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "ssh: "); ok {
			return rest
		}
		if strings.HasPrefix(line, "channel ") || strings.Contains(line, "Permission denied") || strings.Contains(line, "verification failed") {
			return line
		}
	}
	return lastLine(text)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
