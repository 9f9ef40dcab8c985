package worker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/config"
)

// tlsError says in words what is wrong with a tls block or with what the other
// side thinks of it.
type tlsError string

func (e tlsError) Error() string { return string(e) }

// tlsConfig reads the files of a tls block, and says which of them is wrong.
func tlsConfig(t *config.TLS, host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, tlsError(fmt.Sprintf("the authority of its tls block cannot be read: %v", err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, tlsError(fmt.Sprintf("the authority of its tls block, %s, holds no certificate in PEM form", t.CA))
		}
	}
	if t.Cert == "" && t.Key == "" {
		return c, nil
	}
	for _, f := range []struct{ what, path string }{{"certificate", t.Cert}, {"key", t.Key}} {
		if _, err := os.ReadFile(f.path); err != nil {
			return nil, tlsError(fmt.Sprintf("the client %s of its tls block cannot be read: %v", f.what, err))
		}
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, tlsError(fmt.Sprintf("cert and key of its tls block do not belong together: %s, %s", t.Cert, t.Key))
		}
		return nil, tlsError(fmt.Sprintf("cert and key of its tls block: %v", err))
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// diagnoseTLS finds out why a daemon at tcp:// did not answer. With TLS 1.3 a
// server judges the client after the handshake has ended on this side, and
// gRPC loses what it says; so the reason is asked for here, or nil if that
// gives none.
func diagnoseTLS(ctx context.Context, address string, t *config.TLS) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	target, ok := strings.CutPrefix(address, "tcp://")
	if !ok {
		return nil
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil //nolint:nilerr // the address is not this one's to judge
	}
	c := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // only asks whether somebody speaks TLS
	if t != nil {
		if c, err = tlsConfig(t, host); err != nil {
			return err
		}
	}
	d := tls.Dialer{Config: c}
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return tlsVerdict(t, err)
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil //nolint:nilerr // nothing was learned
	}
	_, err = io.WriteString(conn, preface)
	// What the server said before it hung up is still there to be read.
	if _, rerr := io.ReadFull(conn, make([]byte, 1)); rerr != nil {
		err = rerr
	}
	return tlsVerdict(t, err)
}

// preface is how an HTTP/2 client begins, with an empty SETTINGS frame:
// https://www.rfc-editor.org/rfc/rfc9113#section-3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func tlsVerdict(t *config.TLS, err error) error {
	var alert tls.AlertError
	if t == nil {
		// A handshake, or a refusal of it: either way it was TLS.
		if err == nil || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls") {
			return tlsError("it speaks TLS: add a tls block to the worker")
		}
		return nil
	}
	if err == nil {
		return nil
	}
	return tlsReason(err.Error())
}
