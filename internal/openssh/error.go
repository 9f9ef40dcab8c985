package openssh

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// Kind is the class of what is wrong with a host.
type Kind string

// The kinds of errors.
const (
	Unreachable Kind = "unreachable"   // no connection, or it was lost
	HostKey     Kind = "host key"      // unknown, changed, or not the pinned one
	Denied      Kind = "login refused" // no key, wrong user
	NoShell     Kind = "no shell"      // connected, but no command runs
)

// Error says why a host cannot be reached.
type Error struct {
	Host   string
	Kind   Kind
	Reason string
	// Hint is what to do next.
	Hint string
}

func (e *Error) Error() string { return fmt.Sprintf("host %q: %s", e.Host, e.Reason) }

// Remedy is what to do next.
func (e *Error) Remedy() string { return e.Hint }

// reasons are what OpenSSH says, in the order in which they count; its messages
// are not translated. They are those of its sshconnect.c, ssh.c and readconf.c.
// LOGIN stands for the command that gets to the host, NAME for its name in
// known_hosts.
var reasons = []struct {
	says, means, hint string
	kind              Kind
}{
	{"HOST IDENTIFICATION HAS CHANGED", "the host key has changed", "if the host was installed anew, remove the old key with `ssh-keygen -R NAME` and compare the new one; if not, somebody stands between you and it", HostKey},
	{"Host key verification failed", "the host key is not known", "log in once with `LOGIN` and compare the key with the one the host has (`ssh-keygen -lf`)", HostKey},
	{"No matching host key type", "no common kind of host key", "give the host a current OpenSSH, or allow the old algorithms for it in ~/.ssh/config", HostKey},
	{"Permission denied", "it let nobody in", "`LOGIN true` must work without a question: the user, and a key (agent, IdentityFile, ssh-copy-id)", Denied},
	{"Too many authentication failures", "too many keys were tried", "name the key for this host in ~/.ssh/config: IdentityFile, IdentitiesOnly yes", Denied},
	{"Could not resolve hostname", "the name is not known", "check the spelling, or give it an entry in ~/.ssh/config", Unreachable},
	{"Connection refused", "connection refused", "check that sshd runs on the host, and its port", Unreachable},
	{"No route to host", "no route to the host", "check that the host is on and that its network works", Unreachable},
	{"Network is unreachable", "no route to the host", "check that the host is on and that its network works", Unreachable},
	{"Timeout, server", "it stopped answering", "check the host's power and network", Unreachable},
	{"timed out", "it does not answer in time", "check that the host is on and that its network works", Unreachable},
	{"not available", "the user has no login shell", "give the user a shell on the host: chsh -s /bin/sh USER", NoShell},
	{"Broken pipe", "it ended the connection", "check the host and the network; MaxStartups in its sshd_config may be too low", Unreachable},
	{"Connection reset", "it ended the connection", "check the host and the network; MaxStartups in its sshd_config may be too low", Unreachable},
	{"closed by remote host", "it ended the connection", "check the host and the network; MaxStartups in its sshd_config may be too low", Unreachable},
}

// explain turns what OpenSSH printed into words.
func (c *Conn) explain() *Error {
	text, key := c.said.text(), c.said.hostKey()
	e := &Error{Host: c.host, Kind: Unreachable, Reason: culprit(text), Hint: "`LOGIN true` must work without a question: the account has to be allowed to run commands, two at a time (MaxSessions in its sshd_config)"}
	if key != "" {
		e.Reason = "the connection ended: " + culprit(text)
	}
	for _, r := range reasons {
		if !strings.Contains(text, r.says) {
			continue
		}
		e.Kind, e.Reason, e.Hint = r.kind, r.means, r.hint
		if r.kind == HostKey && key != "" {
			if c.options.HostKey != "" { // known_hosts has not been asked
				e.Reason, e.Hint = "the host key is not the pinned one", "compare the key with the one the host has (`ssh-keygen -lf`); if it is right, write it as host_key"
			}
			e.Reason += " (it showed " + key + ")"
		}
		e.Reason += ": " + culprit(text)
		break
	}
	if strings.Contains(text, "UNKNOWN port 65535") || strings.Contains(text, "stdio forwarding failed") {
		e.Reason = "its jump host: " + e.Reason
		e.Hint = "check the jump host by itself (ProxyJump or ProxyCommand of ~/.ssh/config), and that it reaches the host"
	}
	e.Hint = strings.NewReplacer("LOGIN", c.login(), "NAME", c.knownAs()).Replace(e.Hint)
	return e
}

// login is the command that a person types to get to the host.
func (c *Conn) login() string {
	words := []string{"ssh"}
	if c.options.Config != "" {
		words = append(words, "-F", c.options.Config)
	}
	if c.options.Port != 0 {
		words = append(words, "-p", strconv.Itoa(c.options.Port))
	}
	return shellescape.QuoteCommand(append(words, c.host))
}

// knownAs is the host's name in known_hosts, if no alias gives it another.
func (c *Conn) knownAs() string {
	name, port := c.host, ""
	if c.options.Port != 0 {
		port = strconv.Itoa(c.options.Port)
	}
	if u, err := url.Parse(c.host); err == nil && u.Scheme == "ssh" {
		name, port = u.Hostname(), u.Port()
	}
	name = name[strings.LastIndexByte(name, '@')+1:]
	if port != "" && port != "22" {
		name = shellescape.Quote("[" + name + "]:" + port)
	}
	return name
}

// culprit is the first line in which ssh itself names what failed, else the
// last one: what comes after the first are consequences.
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

// lastLine is where a program says what it stumbled over.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return "it gave no reason"
}
