package worker

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc/status"
)

// reason takes the plain cause out of what gRPC wraps around it.
func reason(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such socket")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, os.ErrPermission):
		return errors.New("permission denied")
	}
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	if err := sshReason(text); err != nil {
		return err
	}
	if err := tlsReason(text); err != nil {
		return err
	}
	if _, desc, ok := strings.Cut(text, "connection error: desc = "); ok {
		if plain, err := strconv.Unquote(desc); err == nil {
			text = plain
		}
	}
	if err := helperReason(text); err != nil {
		return err
	}
	for _, prefix := range []string{"transport: ", "Error while dialing: ", "authentication handshake failed: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	switch {
	case strings.Contains(text, "no such file or directory"):
		return errors.New("there is no such socket")
	case strings.Contains(text, "connection refused"):
		return errors.New("connection refused")
	case strings.Contains(text, "permission denied"):
		return errors.New("permission denied")
	case strings.Contains(text, "error reading server preface"):
		return errors.New("what listens there is no BuildKit daemon (" + text + ")")
	}
	return errors.New(text)
}

func hint(address string) string {
	scheme, _, _ := strings.Cut(address, "://")
	switch scheme {
	case "unix":
		return "start buildkitd there, fix the address in targets.hcl, or remove the worker block to use the embedded one"
	case "tcp":
		return "check that buildkitd listens on that address (buildkitd --addr) and that the tls block fits, then run `mage workers`"
	case "ssh":
		return "try `ssh` with the same host and `buildctl debug workers` there; archmage uses your ssh configuration, in batch mode and with strict host keys"
	case "docker-container", "podman-container", "nerdctl-container":
		return "check that the container runs (" + strings.TrimSuffix(scheme, "-container") + " ps) and holds buildkitd and buildctl"
	case "kube-pod":
		return "check that `kubectl get pod` shows it running and that it holds buildkitd and buildctl"
	}
	return "fix the worker's address in targets.hcl"
}

// tlsReason says in words why a certificate was not accepted, on this side or
// the other; nil for what has nothing to do with it.
func tlsReason(text string) error {
	for _, r := range []struct{ sign, words string }{
		{"remote error: tls: expired certificate", "it refuses the client certificate, which has expired"},
		{"remote error: tls: certificate required", "it wants a client certificate: set cert and key in the tls block"},
		{"remote error: tls: unknown certificate authority", "it refuses the client certificate: its authority is not the one the daemon trusts"},
		{"remote error: tls: bad certificate", "it refuses the client certificate: check cert and key, and that its authority is the one the daemon trusts"},
		{"certificate has expired", "its certificate has expired, or is not valid yet"},
		{"certificate signed by unknown authority", "its certificate is signed by somebody not trusted here: name the authority with tls { ca = \"ca.pem\" }"},
		{"certificate is valid for", "its certificate is for another name: set tls { server_name = \"…\" } to the name it is for"},
		{"doesn't contain any IP SANs", "its certificate is for a name, not for the address: set tls { server_name = \"…\" }"},
		{"certificate is not valid for any names", "its certificate is for no name at all: have one made with the daemon's name"},
		{"first record does not look like a TLS", "it does not speak TLS: remove the tls block, or start buildkitd with its TLS options"},
	} {
		if strings.Contains(text, r.sign) {
			words := r.words
			if i := strings.Index(text, "certificate is valid for"); i >= 0 {
				words += " (" + strings.Trim(strings.TrimSpace(text[i:]), `"`) + ")"
			}
			return tlsError(words)
		}
	}
	return nil
}
