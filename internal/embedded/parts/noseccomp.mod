module github.com/moby/profiles/seccomp

go 1.23.0

require github.com/opencontainers/runtime-spec v1.2.1
