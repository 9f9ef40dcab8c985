package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/oci"
)

// explain turns what the network or the registry answered into an Error. It
// tells refused credentials from none. What a cancelled context stopped is no
// fault of the registry and stays context.Canceled, whatever the cause was
// that the transport returned.
func (c *Client) explain(ctx context.Context, host, ref string, err error) error {
	host = familiarHost(host)
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("talking to registry %q: %w", host, ctx.Err())
	}
	err = explain(host, ref, err, c.hosts.plainHTTP(host))
	var e *Error
	if !errors.As(err, &e) || e.Kind != Unauthorized {
		return err
	}
	// Looked up again rather than carried along: this is the rare path.
	name, parseErr := credential.OfRepository(ref)
	if parseErr != nil || ref == "" {
		name = host
	}
	if l, lookupErr := c.credentials.Lookup(name); lookupErr != nil || !l.Found() {
		return err
	}
	refused := *e
	refused.Kind = Denied
	refused.Reason = "refuses the credentials it was given"
	refused.Hint = "they may be wrong, expired or not enough for this repository; " + e.Hint
	return &refused
}

// explain turns an error into an Error. Where plain HTTP is allowed, it is no
// fault that a host does not speak HTTPS.
func explain(host, ref string, err error, plain bool) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		if known.Ref == "" && ref != "" {
			withRef := *known
			withRef.Ref = ref
			return &withRef
		}
		return err
	}
	if errors.Is(err, context.Canceled) { // of a part, the rest goes on
		return fmt.Errorf("talking to registry %q: %w", host, err)
	}
	e := &Error{Host: host, Ref: ref, Err: err}
	var answer *transport.Error
	var used *quotaError
	// Where HTTP was tried besides HTTPS, what HTTPS met tells more: a server
	// of TLS answers 400 to plain HTTP.
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &used):
		e.Kind, e.Reason, e.Hint = Quota, "has had enough requests for now", quotaHint(host, used.until)
	case errors.As(err, &answer) && !errors.As(err, &verify):
		explainAnswer(e, answer)
	default:
		explainNetwork(e, err, plain)
	}
	return e
}

func explainNetwork(e *Error, err error, plain bool) {
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	var hostErr x509.HostnameError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		e.Kind = UnknownHost
		e.Reason = fmt.Sprintf("cannot be found: the name %q does not resolve", dns.Name)
		e.Hint = "check the spelling, the network and the DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind = Unreachable
		e.Reason = "refuses the connection"
		e.Hint = "is it running? Start it, or correct the host"
		if oci.Loopback(e.Host) {
			e.Hint = fmt.Sprintf("is it running? Start it, or let this tool run one: registry %q { embedded = true }", e.Host)
		}
	case errors.Is(err, errWebPage):
		e.Kind = NotRegistry
		e.Reason = "is no registry: it answers with a web page"
		e.Hint = "check the host and the port"
	case !plain && errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errPlainHTTP):
		e.Kind = Scheme
		e.Reason = "speaks plain HTTP, not HTTPS"
		e.Hint = fmt.Sprintf("if that is meant, declare it: registry %q { insecure = true }", e.Host)
	case errors.As(err, &record) && (!plain || !transient(err)):
		e.Kind = NotRegistry
		e.Reason = "is no registry: it speaks neither HTTP nor HTTPS"
		e.Hint = "check the host and the port"
	case errors.As(err, &verify), errors.As(err, &hostErr):
		e.Kind = Untrusted
		e.Reason = "shows a certificate that is not trusted"
		if verify != nil {
			e.Reason += ": " + line(verify.Err.Error())
		} else {
			e.Reason += ": " + line(hostErr.Error())
		}
		e.Hint = fmt.Sprintf("name the authority that signed it: registry %q { ca = \"ca.pem\" }", e.Host)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e.Kind = Unreachable
		e.Reason = "does not answer in time"
		e.Hint = "check the host, the port and what stands between"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		e.Kind = Unreachable
		e.Reason = "cannot be reached: " + root(err)
		e.Hint = "check the network and the host"
	case transient(err):
		e.Kind = Unreachable
		e.Reason = "breaks the connection: " + root(err)
		e.Hint = "run the same command again; if it stays so, look at the registry's log"
	default:
		e.Kind = Failed
		e.Reason = "cannot be used: " + line(err.Error())
	}
}

func explainAnswer(e *Error, answer *transport.Error) {
	said := words(answer)
	switch code := answer.StatusCode; {
	case limitedAnswer(answer):
		e.Kind, e.Reason, e.Hint = Quota, "has had enough requests for now"+said, quotaHint(e.Host, time.Time{})
	case code == http.StatusUnauthorized:
		e.Kind = Unauthorized
		e.Reason = "wants credentials"
		e.Hint = fmt.Sprintf("run: docker login %s", e.Host)
	case immutable(answer):
		e.Kind = Failed
		e.Reason = "does not let the tag be moved" + said
		e.Hint = "release under another tag, or let the registry overwrite this one"
	case code == http.StatusForbidden && writes(answer.Request):
		e.Kind = Denied
		e.Reason = "denies access" + said
		e.Hint = fmt.Sprintf("check that the account may push here and that the repository exists, as some registries make none by themselves, or run: docker login %s", e.Host)
	case code == http.StatusForbidden:
		e.Kind = Denied
		e.Reason = "denies access" + said
		e.Hint = fmt.Sprintf("check that the account may do this, or run: docker login %s", e.Host)
	case code == http.StatusNotFound && writes(answer.Request) && unknownRepository(answer):
		e.Kind = NoRepository
		e.Reason = "has no such repository, and makes none at a push" + said
		e.Hint = "create the repository there first, or let the registry create repositories at a push"
		if strings.HasSuffix(e.Host, ".amazonaws.com") {
			e.Hint = "create the repository first (`aws ecr create-repository --repository-name NAME`), or add a creation template for it"
		}
	case answer.Request != nil && answer.Request.URL.Path == "/v2/" && code != http.StatusForbidden && code < 500:
		e.Kind = NotRegistry
		e.Reason = fmt.Sprintf("is no registry: it answers %d to /v2/", code)
		e.Hint = "check the host and the port"
	case code == http.StatusNotFound:
		e.Kind = NotFound
		e.Reason = "does not have it" + said
		e.Hint = "check the repository and the tag or digest"
	case code >= 500:
		e.Kind = Unavailable
		e.Reason = fmt.Sprintf("answers %d %s%s", code, http.StatusText(code), said)
		e.Hint = "run the same command again later; if it stays so, look at the registry's log (its disk may be full)"
	default:
		e.Kind = Failed
		e.Reason = fmt.Sprintf("answers %d %s%s", code, http.StatusText(code), said)
	}
}

// writes reports whether a request was to bring something to a repository.
func writes(req *http.Request) bool {
	return req != nil && (req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch)
}

// immutable reports whether a tag could not be written because the registry never
// moves one. There is no code that all use for it.
func immutable(answer *transport.Error) bool {
	if req := answer.Request; req == nil || req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/") || strings.Contains(req.URL.Path, "/manifests/sha256:") {
		return false
	}
	for _, d := range answer.Errors {
		if d.Code == transport.TagInvalidErrorCode || strings.Contains(strings.ToLower(d.Message), "immutable") {
			return true
		}
	}
	return false
}

// unknownRepository reports whether a 404 is about the repository, not about
// something in it.
func unknownRepository(answer *transport.Error) bool {
	for _, d := range answer.Errors {
		if d.Code == transport.NameUnknownErrorCode {
			return true
		}
	}
	return len(answer.Errors) == 0 && answer.Request.Method == http.MethodPost
}

// words gives the registry's own explanation, if it gave a structured one,
// short enough for a line.
func words(answer *transport.Error) string {
	var parts []string
	for _, d := range answer.Errors {
		part := string(d.Code)
		if d.Message != "" {
			part += ": " + d.Message
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + line(strings.Join(parts, "; ")) + ")"
}

func quotaHint(host string, until time.Time) string {
	hint := "try again later"
	if !until.IsZero() {
		hint = "try again after " + until.Local().Format("15:04:05 on 2006-01-02")
	}
	if host == "docker.io" {
		hint += ", or log in for a higher limit: docker login"
	}
	return hint
}

// root is the innermost error's text, without the request that met it.
func root(err error) string {
	var op *net.OpError
	if errors.As(err, &op) { // the library's error of several schemes does not unwrap
		err = op
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return line(err.Error())
}

// line makes a text, which a registry may have had a part in, fit for one line
// of a terminal.
func line(text string) string {
	const longest = 400
	runes := []rune(text)
	if len(runes) > longest {
		runes = append(runes[:longest], '…')
	}
	quoted := strconv.Quote(string(runes))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
