package audit_test

// soundEntrypoints are entry scripts in the ways that official images have
// them, with the programs that they start.
func soundEntrypoints() []corpusCase {
	tool := func(names ...string) []file {
		var out []file
		for _, n := range names {
			out = append(out, bin("usr/local/bin/"+n, own))
		}
		return out
	}
	start := func(name, cmd, text string, more ...file) corpusCase {
		return good(name, arm64(started{entrypoint: words("docker-entrypoint.sh"), cmd: words(cmd)}, append(more, script("usr/local/bin/docker-entrypoint.sh", text))...))
	}
	return []corpusCase{
		start("entry script of a database that changes its user", "postgres", `#!/usr/bin/env bash
set -Eeo pipefail
file_env() {
	local var="$1"; local fileVar="${var}_FILE"; local def="${2:-}"
	if [ "${!var:-}" ] && [ "${!fileVar:-}" ]; then
		printf >&2 'error: both %s and %s are set' "$var" "$fileVar"; exit 1
	fi
	local val="$def"
	if [ "${!var:-}" ]; then val="${!var}"; elif [ "${!fileVar:-}" ]; then val="$(< "${!fileVar}")"; fi
	export "$var"="$val"; unset "$fileVar"
}
_is_sourced() { [ "${#FUNCNAME[@]}" -ge 2 ] && [ "${FUNCNAME[0]}" = '_is_sourced' ] && [ "${FUNCNAME[1]}" = 'source' ]; }
docker_process_init_files() {
	local f
	for f; do
		case "$f" in
			*.sh) if [ -x "$f" ]; then "$f"; else . "$f"; fi ;;
			*.sql.gz) gunzip -c "$f" | docker_process_sql ;;
			*) printf '%s: ignoring %s\n' "$0" "$f" ;;
		esac
	done
}
_main() {
	if [ "${1:0:1}" = '-' ]; then set -- postgres "$@"; fi
	if [ "$1" = 'postgres' ] && ! _pg_want_help "$@"; then
		if [ "$(id -u)" = '0' ]; then exec gosu app "$BASH_SOURCE" "$@"; fi
		if [ -z "$DATABASE_ALREADY_EXISTS" ]; then
			ls /docker-entrypoint-initdb.d/ > /dev/null
			docker_process_init_files /docker-entrypoint-initdb.d/*
			unset PGPASSWORD
		fi
	fi
	exec "$@"
}
if ! _is_sourced; then _main "$@"; fi
`, tool("gosu", "postgres")...),
		start("entry script of a cache", "redis-server", `#!/bin/sh
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = 'redis-server' -a "$(id -u)" = '0' ]; then
	find . \! -user redis -exec chown redis '{}' +
	exec gosu redis "$0" "$@"
fi
um="$(umask)"
if [ "$um" = '0022' ]; then umask 0077; fi
exec "$@"
`, tool("gosu", "redis-server")...),
		start("entry script of a web server", "nginx -g x", `#!/bin/sh
# vim:sw=4:ts=4:et
set -e
entrypoint_log() { if [ -z "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ]; then echo "$@"; fi; }
if [ "$1" = "nginx" ] || [ "$1" = "nginx-debug" ]; then
    if /usr/bin/find "/docker-entrypoint.d/" -mindepth 1 -maxdepth 1 -type f -print -quit 2>/dev/null | read v; then
        find "/docker-entrypoint.d/" -follow -type f -print | sort -V | while read -r f; do
            case "$f" in
                *.envsh) if [ -x "$f" ]; then . "$f"; fi ;;
                *.sh) if [ -x "$f" ]; then "$f"; fi ;;
                *) entrypoint_log "$0: Ignoring $f";;
            esac
        done
    fi
fi
exec "$@"
`, tool("nginx")...),
		start("entry script of Node", "node app.js", `#!/bin/sh
set -e
# Run command with node if the first argument contains a "-" or is not a system command.
if [ "${1#-}" != "${1}" ] || [ -z "$(command -v "${1}")" ] || { [ -f "${1}" ] && ! [ -x "${1}" ]; }; then
  set -- node "$@"
fi
exec "$@"
`, tool("node")...),
		start("entry script of Node, with a script as command", "app.js", `#!/bin/sh
set -e
if [ "${1#-}" != "${1}" ] || [ -z "$(command -v "${1}")" ]; then
  set -- node "$@"
fi
exec "$@"
`, tool("node")...),
		start("start script of Java", "run", `#!/bin/sh
PRG="$0"
while [ -h "$PRG" ]; do
  ls=$(ls -ld "$PRG"); link=$(expr "$ls" : '.*-> \(.*\)$')
  if expr "$link" : '/.*' > /dev/null; then PRG="$link"; else PRG=$(dirname "$PRG")/"$link"; fi
done
PRGDIR=$(dirname "$PRG")
[ -z "$CATALINA_HOME" ] && CATALINA_HOME=$(cd "$PRGDIR/.." >/dev/null; pwd)
if [ -r "$CATALINA_HOME/bin/setenv.sh" ]; then . "$CATALINA_HOME/bin/setenv.sh"; fi
if [ -z "$JAVA_HOME" ]; then
  JAVA_PATH=$(which java 2>/dev/null)
  if [ "x$JAVA_PATH" != "x" ]; then JRE_HOME=$(dirname "$JAVA_PATH" 2>/dev/null); fi
fi
if [ -z "$JRE_HOME" ]; then JRE_HOME="$JAVA_HOME"; fi
_RUNJAVA="$JRE_HOME"/bin/java
if [ "$1" = "run" ]; then
  shift
  eval exec "\"$_RUNJAVA\"" "\"$LOGGING_CONFIG\"" -classpath "\"$CLASSPATH\"" org.apache.catalina.startup.Bootstrap "$@" start
fi
`, append(tool("java"), symlink("usr/local/bin/bin", "."))...),
		start("permissions that are changed first", "server", `#!/bin/bash
if [[ $EUID -eq 0 ]]; then
  groupmod -o -g "${PGID:-911}" abc; usermod -o -u "${PUID:-911}" abc
  chown -R abc:abc /config
  exec s6-setuidgid abc "$0" "$@"
fi
case "${1:-}" in
  ''|server) exec /app/server ${ARGS} ;;
  bash|sh) exec "$@" ;;
  *) exec /app/server "$@" ;;
esac
`, append(tool("s6-setuidgid"), bin("app/server", own))...),
		start("options that become arguments", "--config /etc/x.conf", `#!/bin/bash
args=()
for v in $(compgen -A variable | grep ^OPT_); do args+=("--${v#OPT_}=${!v}"); done
while (( "$#" )); do args+=("$1"); shift; done
exec /usr/local/bin/app "${args[@]}"
`, tool("app")...),
	}
}
