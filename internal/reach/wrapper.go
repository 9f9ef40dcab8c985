package reach

import (
	"path"
	"slices"
	"strings"
)

// wrapped is the command that a wrapper starts.
type wrapped struct {
	process process
	argv    []value
	user    string  // it changes to; "?" where that is not known
	script  *string // what a shell is told instead
}

// wrapper takes a command line apart.
type wrapper func(p process, args []value) wrapped

// wrappers are programs that start the command in their arguments, by name.
var wrappers = map[string]wrapper{
	// https://github.com/krallin/tini#options, https://github.com/Yelp/dumb-init
	"tini": after("pe"), "tini-static": after("pe"), "docker-init": after("pe"), "catatonit": after(""),
	"dumb-init": after("r", "rewrite"), "pid1": after("ugw"),
	// https://www.gnu.org/software/coreutils/manual/coreutils.html
	"nohup": after(""), "nice": after("n", "adjustment"), "ionice": after("cnpPu", "class", "classdata"), "stdbuf": after("ioe", "input", "output", "error"),
	"setsid": after(""), "time": after("fo", "format", "output"), "chrt": operands(1, after("TPD")), "taskset": operands(1, after("")),
	"timeout": operands(1, after("ks", "kill-after", "signal")), "unbuffer": after(""), "xvfb-run": after("aefnpsw", "server-num", "server-args", "error-file", "auth-file"),
	"linux32": after(""), "linux64": after(""), "setarch": setarch, "eatmydata": after(""), "faketime": operands(1, after("f")),
	"prlimit": after("", "output", "pid"), "unshare": after("SG"), "dbus-run-session": after("", "config-file", "dbus-daemon"), "ssh-agent": after("atPE"), "numactl": after("iNCmp"),
	"env": env,
	// https://github.com/tianon/gosu, https://github.com/ncopa/su-exec, https://skarnet.org/software/s6/
	"gosu": asUser(after("")), "su-exec": asUser(after("")), "s6-setuidgid": asUser(after("")), "setuidgid": asUser(after("")), "s6-applyuidgid": unknownUser(after("ugGUz")),
	"chpst": optionUser("u", after("uUebdomdfcrtnP")), "setpriv": unknownUser(after("", "reuid", "regid", "groups", "inh-caps", "ambient-caps", "bounding-set", "securebits", "selinux-label", "apparmor-profile", "pdeathsig", "ruid", "euid", "rgid", "egid")),
	"sudo": unknownUser(env2(after("ugphCrtTUD", "user", "group"))), "doas": unknownUser(after("uC")), "runuser": su, "su": su,
	"s6-softlimit": after("acdfhlmoprst"), "s6-envdir": operands(1, after("fnL")), "envdir": operands(1, after("")), "s6-env": env2(after("")), "with-contenv": after(""), "fdmove": operands(2, after("c")),
	"exec": after("a"), "command": after(""), "builtin": after(""),
	"flock": flock, "strace": after("abeEIoOpPsSuUX"), "ltrace": after("aAbeFlnopsuwx"),
	"fixuid": after(""), "jemalloc.sh": after(""), "chamber": dashes, "aws-vault": dashes, "doppler": dashes, "op": dashes, "infisical": dashes,
}

// after returns a wrapper whose command follows options; short and long are
// those with an argument.
func after(short string, long ...string) wrapper {
	return func(p process, args []value) wrapped {
		argv, _ := options(args, short, long, nil)
		return wrapped{process: p, argv: argv}
	}
}

// options passes over the options in front of args and returns what follows;
// each option that is seen goes to seen, if there is one. Only a known "--" or
// a word that is no option ends them.
func options(args []value, short string, long []string, seen func(option, argument string)) (rest []value, ok bool) {
	if seen == nil {
		seen = func(string, string) {}
	}
	for len(args) > 0 {
		word, sure := args[0].one()
		switch {
		case !sure:
			return args, false
		case word == "--":
			return args[1:], true
		case len(word) < 2 || word[0] != '-':
			return args, true
		}
		args = args[1:]
		argument := func() string {
			if len(args) == 0 {
				return ""
			}
			s, _ := args[0].one()
			args = args[1:]
			return s
		}
		if name, isLong := strings.CutPrefix(word, "--"); isLong {
			name, value, with := strings.Cut(name, "=")
			if !with && slices.Contains(long, name) {
				value = argument()
			}
			seen(name, value)
			continue
		}
		for i := 1; i < len(word); i++ {
			option := word[i : i+1]
			if !strings.Contains(short, option) {
				seen(option, "")
				continue
			}
			value := word[i+1:]
			if value == "" {
				value = argument()
			}
			seen(option, value)
			break
		}
	}
	return nil, true
}

// operands drops n words in front of the command.
func operands(n int, w wrapper) wrapper {
	return func(p process, args []value) wrapped {
		out := w(p, args)
		out.argv = out.argv[min(n, len(out.argv)):]
		return out
	}
}

// setarch has the machine in front, unless an option is there.
func setarch(p process, args []value) wrapped {
	if name, ok := first(args).one(); ok && !strings.HasPrefix(name, "-") {
		args = args[1:]
	}
	return after("p", "personality")(p, args)
}

// flock is told a command, or a line for a shell.
// https://man7.org/linux/man-pages/man1/flock.1.html
func flock(p process, args []value) wrapped {
	rest, _ := options(args, "wE", []string{"timeout", "wait", "conflict-exit-code"}, nil)
	rest = rest[min(1, len(rest)):]
	if o, _ := first(rest).one(); (o == "-c" || o == "--command") && len(rest) > 1 {
		line, _ := rest[1].one()
		return wrapped{process: p, script: &line}
	}
	return wrapped{process: p, argv: rest}
}

// asUser takes the first word for the user.
func asUser(w wrapper) wrapper {
	return func(p process, args []value) wrapped {
		out := w(p, args)
		if len(out.argv) > 0 {
			out.user = "?"
			if s, ok := out.argv[0].one(); ok {
				out.user = s
			}
			out.argv = out.argv[1:]
		}
		return out
	}
}

func unknownUser(w wrapper) wrapper {
	return func(p process, args []value) wrapped {
		out := w(p, args)
		out.user = "?"
		return out
	}
}

// optionUser takes the user from an option.
func optionUser(option string, w wrapper) wrapper {
	return func(p process, args []value) wrapped {
		out := w(p, args)
		for i, arg := range args {
			if s, _ := arg.one(); s == "-"+option && i+1 < len(args) {
				out.user, _ = args[i+1].one()
			}
		}
		if out.user == "" {
			out.user = "?"
		}
		return out
	}
}

// dashes takes what follows "--".
func dashes(p process, args []value) wrapped {
	for i, arg := range args {
		if s, ok := arg.one(); ok && s == "--" {
			return wrapped{process: p, argv: args[i+1:]}
		}
	}
	return wrapped{process: p}
}

// env2 takes assignments in front of the command, as env does.
func env2(w wrapper) wrapper {
	return func(p process, args []value) wrapped {
		out := w(p, args)
		out.process, out.argv = assignments(out.process, out.argv)
		return out
	}
}

// assignments takes NAME=VALUE words into the environment.
func assignments(p process, args []value) (process, []value) {
	for len(args) > 0 && len(args[0].alts) > 0 {
		name, _, ok := strings.Cut(args[0].alts[0], "=")
		if !ok || name == "" || strings.Contains(name, "/") {
			break
		}
		v := args[0].each(func(s string) string { return strings.TrimPrefix(s, name+"=") })
		p = p.with(name, v)
		args = args[1:]
	}
	return p, args
}

// with returns the process with a variable set.
func (p process) with(name string, v value) process {
	env := make(map[string]value, len(p.env)+1)
	for k, old := range p.env {
		env[k] = old
	}
	env[name] = v
	p.env = env
	return p
}

// env reads the command line of env(1). What -S has is divided into words.
// https://www.gnu.org/software/coreutils/manual/html_node/env-invocation.html
func env(p process, args []value) wrapped {
	for rounds := 0; rounds < 8; rounds++ {
		split := ""
		rest, _ := options(args, "uCS", []string{"unset", "chdir", "split-string"}, func(option, argument string) {
			switch option {
			case "i", "ignore-environment":
				p.env = map[string]value{"PATH": known(defaultPath)}
			case "u", "unset":
				p = p.with(argument, known(""))
			case "C", "chdir":
				if strings.HasPrefix(argument, "/") {
					p.dir = known(argument)
				} else {
					p.dir = p.dir.each(func(dir string) string { return path.Join("/", dir, argument) })
				}
			case "S", "split-string", "vS":
				split = argument
			}
		})
		if split == "" {
			args = rest
			break
		}
		args = append(knownAll(strings.Fields(split)), rest...)
	}
	if len(args) > 0 {
		if s, ok := args[0].one(); ok && s == "-" {
			args = args[1:]
		}
	}
	p, args = assignments(p, args)
	return wrapped{process: p, argv: args}
}

// su reads the command lines of su and runuser.
func su(p process, args []value) wrapped {
	out := wrapped{process: p, user: "?"}
	command, direct := "", ""
	rest, _ := options(args, "cgGsuw", []string{"command", "group", "supp-group", "shell", "user", "whitelist-environment", "session-command"}, func(option, argument string) {
		switch option {
		case "c", "command", "session-command":
			command = argument
		case "u", "user":
			direct = argument
		}
	})
	if direct != "" { // runuser -u USER command
		out.user, out.argv = direct, rest
		return out
	}
	for len(rest) > 0 {
		s, ok := rest[0].one()
		rest = rest[1:]
		switch {
		case !ok:
		case s == "-":
		case s == "-c" && len(rest) > 0:
			command, _ = rest[0].one()
		case out.user == "?" && !strings.HasPrefix(s, "-"):
			out.user = s
		}
	}
	if command != "" {
		out.script = &command
	}
	return out
}

// loaded is a dynamic loader that is told a program.
func loaded(p process, args []value) wrapped {
	rest, _ := options(args, "", []string{"library-path", "preload", "argv0", "inhibit-rpath", "audit"}, func(option, argument string) {
		if option == "library-path" {
			p = p.with("LD_LIBRARY_PATH", known(argument))
		}
	})
	return wrapped{process: p, argv: rest}
}
