package devtools

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// tasksPage lists the tasks with their flags, the variables and the exit codes.
func tasksPage(root string) ([]byte, error) {
	files, fset, err := parsed(filepath.Join(root, "tasks"))
	if err != nil {
		return nil, err
	}
	codeFiles, _, err := parsed(filepath.Join(root, "tasks", "api"))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Tasks\n\n<!-- Written by `go tool mage reference` from the package tasks; do not edit. -->\n\n")
	b.WriteString("With mage it is `mage TASK -flag=value`; the command has two dashes and takes targets as words: `archmage release app --no-referrer`. Results are on stdout, all else on stderr.\n\n")
	var tasks []*ast.FuncDecl
	notes := map[string]string{} // comments by the line that they end
	codes := map[string]string{}
	var order []string
	for _, f := range files {
		for _, c := range f.Comments {
			notes[line(fset, c.Pos())] = text(c)
		}
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && isTask(d) {
				tasks = append(tasks, d)
			}
		}
	}
	for _, f := range codeFiles {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.GenDecl); ok {
				for _, c := range exitCodes(d) {
					codes[c[0]] = c[1]
					order = append(order, c[0])
				}
			}
		}
	}
	slices.SortFunc(tasks, func(a, b *ast.FuncDecl) int { return strings.Compare(a.Name.Name, b.Name.Name) })
	for _, t := range tasks {
		_, what, _ := strings.Cut(text(t.Doc), " ")
		fmt.Fprintf(&b, "## %s\n\n%s\n", lowerFirst(t.Name.Name), strings.ToUpper(what[:1])+what[1:])
		flags := flagsOf(t, func(at token.Pos) string { return notes[line(fset, at)] })
		if len(flags) > 0 {
			b.WriteString("\n| flag | value | meaning |\n|---|---|---|\n")
		}
		for _, f := range flags {
			fmt.Fprintf(&b, "| `-%s` | %s | %s |\n", f.name, f.typ, f.doc)
		}
		b.WriteString("\n")
	}
	b.WriteString("Flags of mage itself stand before the task: `-t 10m` ends it after a time, `-h TASK` shows its flags, `-l` lists the tasks.\n\n")
	b.WriteString("## Variables\n\n| variable | meaning |\n|---|---|\n")
	for _, v := range Variables {
		fmt.Fprintf(&b, "| `%s` | %s |\n", v[0], v[1])
	}
	b.WriteString("\nA `variable` block takes its value from the environment too: `VERSION=1.2 mage release`.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | done |\n| 1 | anything that is not below |\n")
	for _, c := range order {
		fmt.Fprintf(&b, "| %s | %s |\n", c, codes[c])
	}
	return b.Bytes(), nil
}

// Variables of the environment that are read, with their meaning; a test looks
// for others in the source.
var Variables = [][2]string{
	{"ARCHMAGE_FILE", "the files to read instead of the default ones, separated like `PATH`"},
	{"ARCHMAGE_PROGRESS", "how builds are shown: `auto`, `plain`, `tty` or `quiet`"},
	{"ARCHMAGE_SSH_CONFIG", "a configuration of OpenSSH's client instead of `~/.ssh/config`"},
	{"ARCHMAGE_BUILDKIT_IMAGE", "the image of BuildKit that a Docker Engine starts for worker `auto`"},
	{"BUILDKIT_HOST", "the BuildKit that worker `auto` uses"},
	{"BUILDKIT_PROGRESS", "as ARCHMAGE_PROGRESS, which counts first"},
	{"BUILDX_BAKE_FILE", "bake's own: the files to read instead of the default ones, where `ARCHMAGE_FILE` is not set"},
	{"BUILDX_BAKE_PATH_SEPARATOR", "bake's own: what separates the names in `BUILDX_BAKE_FILE`"},
	{"BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "bake's own: variables are not taken from the environment"},
	{"SOURCE_DATE_EPOCH", "the time of the image in seconds since 1970, instead of the commit's; empty for the present"},
	{"COSIGN_PASSWORD", "the password of the key in `release { sign { … } }`, unless `password_env` names another variable"},
	{"DOCKER_CONFIG, REGISTRY_AUTH_FILE", "where logins to registries are read from"},
	{"SSH_AUTH_SOCK", "the SSH agent, for `ssh` of a target"},
	{"GITHUB_ACTIONS", "set by GitHub: findings and errors become annotations"},
	{"GITHUB_OUTPUT", "set by GitHub: a release sets the outputs `digest`, `tags`, `release` and `json`"},
	{"GITHUB_STEP_SUMMARY", "set by GitHub: a release appends its result in Markdown"},
	{"NO_COLOR, CLICOLOR, CLICOLOR_FORCE, FORCE_COLOR, TERM", "whether colour is used, by <https://no-color.org> and <https://bixense.com/clicolors>"},
	{"XDG_CACHE_HOME, XDG_STATE_HOME, XDG_CONFIG_HOME, XDG_RUNTIME_DIR, HOME, USERPROFILE", "where compiled parts, data, logs and logins lie"},
	{"PATH, GOFLAGS", "for the commands that are run, and for the compiler of BuildKit"},
}

type flag struct{ name, typ, doc string }

// isTask reports whether mage makes a task of a function.
func isTask(d *ast.FuncDecl) bool {
	if d.Recv != nil || !d.Name.IsExported() || d.Type.Results == nil || len(d.Type.Results.List) != 1 || len(d.Type.Params.List) == 0 {
		return false
	}
	sel, ok := d.Type.Params.List[0].Type.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Context"
}

func line(fset *token.FileSet, at token.Pos) string {
	p := fset.Position(at)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

func flagsOf(d *ast.FuncDecl, note func(token.Pos) string) []flag {
	var out []flag
	for _, p := range d.Type.Params.List[1:] {
		for _, n := range p.Names {
			typ := typeName(p.Type)
			switch typ {
			case "bool":
				typ = ""
			case "Duration":
				typ = "duration"
			}
			if _, optional := p.Type.(*ast.StarExpr); optional { // else it is an argument, in the task's own sentence
				out = append(out, flag{n.Name, typ, note(n.Pos())})
			}
		}
	}
	return out
}

// exitCodes are the constants named Exit… with their comments.
func exitCodes(d *ast.GenDecl) [][2]string {
	if d.Tok != token.CONST {
		return nil
	}
	var out [][2]string
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		if len(v.Names) != 1 || !strings.HasPrefix(v.Names[0].Name, "Exit") || len(v.Values) != 1 {
			continue
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			out = append(out, [2]string{lit.Value, text(v.Comment)})
		}
	}
	return out
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
