package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/archmage-build/archmage/internal/config"
)

// HTTPResult is how an HTTP check went.
type HTTPResult struct {
	// OK says that status and body were as wanted.
	OK bool
	// Status and Body (its beginning) are the last answer's; 0 for none.
	Status int
	Body   string
	// Problem says what was wrong with the last try.
	Problem string
	Tries   int
}

// bodyKept is how many bytes of a body are looked at.
const bodyKept = 64 << 10

// ask asks the container, from the device, until it answers as wanted or the
// context ends. Redirects are answers like others.
func (d *Device) ask(ctx context.Context, f *Facts, name string, check *config.HTTP) *HTTPResult {
	r := &HTTPResult{Problem: "the container was not up"}
	match, err := regexp.Compile(check.Match)
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	interval := check.Interval
	if interval <= 0 {
		interval = 500 * time.Millisecond
	}
	port, err := d.port(ctx, f, name, check.Port)
	if err != nil {
		if ctx.Err() == nil {
			r.Problem = err.Error()
		}
		return r
	}
	client, done, err := d.client(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	defer done()
	for {
		r.Tries++
		d.try(ctx, client, port, check, match, r)
		if r.OK {
			return r
		}
		select {
		case <-ctx.Done():
			return r
		case <-time.After(interval):
		}
	}
}

func (d *Device) try(ctx context.Context, client *http.Client, port int, check *config.HTTP, match *regexp.Regexp, r *HTTPResult) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, check.Path), nil)
	if err != nil {
		r.Problem = err.Error()
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		if r.Status == 0 { // an answer says more than the end of the connection
			r.Problem = fmt.Sprintf("no answer: %s", cause(err, check.Port))
		}
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyKept))
	r.Status, r.Body = resp.StatusCode, string(body)
	switch {
	case err != nil:
		r.Problem = "reading the body: " + err.Error()
	case resp.StatusCode != check.Status:
		r.Problem = fmt.Sprintf("status %d, not %d", resp.StatusCode, check.Status)
	case !match.Match(body):
		r.Problem = fmt.Sprintf("the body does not match %q", check.Match)
	default:
		r.OK, r.Problem = true, ""
	}
}

// cause says why there was no answer, without the method and the address, which
// are ours and not the user's. A forwarded port takes connections for a container
// in which nobody listens and closes them.
func cause(err error, port int) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Sprintf("nothing listens on port %d in the container", port)
	}
	return err.Error()
}

// port waits until the container runs and says where on the device its port is.
func (d *Device) port(ctx context.Context, f *Facts, name string, port int) (int, error) {
	switch network := d.ownNetwork(); network {
	case "":
	case "host":
		return port, nil
	default:
		return 0, fmt.Errorf("the device's run_args put the container into the network %q, where its port cannot be published; leave --network out, or use host", network)
	}
	ask := f.command("port", name, strconv.Itoa(port)+"/tcp")
	o, err := d.script(ctx, "i=0\nuntil a=$("+ask+" 2>/dev/null) && [ -n \"$a\" ]; do i=$((i+1)); [ $i -lt 1000 ] || exit 1; sleep 0.2; done\nprintf '%s\\n' \"$a\"")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(o.stdout), "\n") {
		if _, p, err := net.SplitHostPort(strings.TrimSpace(line)); err == nil {
			return strconv.Atoi(p)
		}
	}
	return 0, fmt.Errorf("the runtime names no port: %q", o.stdout)
}
