package openssh

import (
	"bytes"
	"strings"
	"sync"
)

// maxLines and maxLine bound what is kept of what the client says: its last
// lines.
const (
	maxLines = 50
	maxLine  = 4 << 10
)

// output keeps what the client says, without its chatter.
type output struct {
	mu      sync.Mutex
	pending []byte
	lines   []string
	key     string
	// connected says that only the last line counts.
	connected bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, p...)
	for {
		i := bytes.IndexByte(o.pending, '\n')
		if i < 0 {
			break
		}
		o.line(strings.TrimRight(string(o.pending[:i]), "\r"))
		o.pending = o.pending[i+1:]
	}
	o.pending = o.pending[max(0, len(o.pending)-maxLine):]
	return len(p), nil
}

func (o *output) line(text string) {
	if rest, ok := strings.CutPrefix(text, "debug1: "); ok {
		if key, ok := strings.CutPrefix(rest, "Server host key: "); ok {
			o.key = key
		}
		return
	}
	// The headings of OpenSSH's own messages say nothing.
	for _, chatter := range []string{"OpenSSH_", "@@@", "Authenticated to ", "Transferred: ", "Bytes per second: "} {
		if strings.HasPrefix(text, chatter) {
			return
		}
	}
	// A client that was compiled without Kerberos names our own line.
	if strings.TrimSpace(text) != "" && !strings.Contains(text, `Unsupported option "gssapi`) {
		o.lines = append(o.lines, text)
		o.lines = o.lines[max(0, len(o.lines)-maxLines):]
	}
}

// answered notes that the host is there: what ends the connection from now on
// is in the last line, and those before are of what ran over it.
func (o *output) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines, o.connected = nil, true
}

func (o *output) hostKey() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.key
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.TrimSpace(strings.Join(append(o.lines[:len(o.lines):len(o.lines)], string(o.pending)), "\n"))
	if o.connected {
		return text[strings.LastIndexByte(text, '\n')+1:]
	}
	return text
}
