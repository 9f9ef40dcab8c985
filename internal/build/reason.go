package build

import (
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/moby/buildkit/util/grpcerrors"
)

// lost says whether the connection to the daemon broke, rather than the build.
func lost(err error) bool {
	if grpcerrors.Code(err) == codes.Unavailable || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	text := err.Error()
	for _, sign := range []string{
		// gRPC's transport to the daemon; a registry's connection breaks in other words.
		"error reading from server", "transport is closing", "closing transport",
		"no active sessions", "no active session for",
		"no space left on device",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// full says whether the worker's disk has no room left.
func full(err error) bool { return strings.Contains(err.Error(), "no space left on device") }

// noRoom says whether a step ended because its worker's disk was full: ENOSPC in
// the words of strerror(3).
func noRoom(log []string) bool {
	return slices.ContainsFunc(log, func(l string) bool { return strings.Contains(strings.ToLower(l), "no space left on device") })
}

// flat drops the stack trace and gRPC's wrapping: mage prints errors with %+v.
func flat(err error) error {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	for _, prefix := range []string{"rpc error: code = Unknown desc = ", "failed to solve: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return errors.New(text)
}

// remedy gives advice for the mistakes people make most.
func remedy(err error) string {
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("exec format error"):
		return "a step runs binaries of another architecture than the worker's: use a native worker, cross-compile with FROM --platform=$BUILDPLATFORM, or install binfmt handlers on the worker"
	case has("failed to read dockerfile"):
		return "check context and dockerfile of the target; dockerfile is relative to the context"
	case has("docker.io/") && (has("i/o timeout") || has("no such host") || has("connection refused")):
		return "the worker cannot reach Docker Hub: check its network, or name another registry in FROM"
	case has("401 Unauthorized") || has("403 Forbidden") || has("insufficient_scope") || has("authorization failed") || has("no basic auth credentials"):
		return "the registry wants credentials: run `docker login` for its host on this machine"
	case has("server gave HTTP response to HTTPS client"):
		return "the registry speaks plain HTTP: add registry \"HOST\" { insecure = true } to targets.hcl"
	case has("is not allowed") && has("entitlement"):
		return "the worker does not grant the entitlement: start its buildkitd with --allow-insecure-entitlement"
	}
	return ""
}
