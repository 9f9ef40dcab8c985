package devtools

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Reference writes docs/targets.md, docs/tasks.md and docs/targets.schema.json
// from the source below root.
func Reference(root string) error {
	pages, err := References(root)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := os.WriteFile(filepath.Join(root, "docs", name), pages[name], 0o644); err != nil {
			return fmt.Errorf("writing the reference: %w", err)
		}
	}
	return nil
}

// References are the pages that Reference writes, by name.
func References(root string) (map[string][]byte, error) {
	structs, err := readStructs(filepath.Join(root, "internal", "config"))
	if err != nil {
		return nil, err
	}
	s := &schema{structs: structs}
	tasks, err := tasksPage(root)
	if err != nil {
		return nil, err
	}
	page, err := s.page()
	if err != nil {
		return nil, err
	}
	object, err := s.jsonSchema()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"targets.md": page, "tasks.md": tasks, "targets.schema.json": object}, nil
}

// field is one attribute or block of a block.
type field struct {
	name, kind string // kind is that of the hcl tag: optional, block, label or ""
	typ        string // of Go
	doc        string
}

type structType struct {
	doc    string
	fields []field
}

// readStructs reads the structs with hcl tags of a package.
func readStructs(dir string) (map[string]*structType, error) {
	files, _, err := parsed(dir)
	if err != nil {
		return nil, err
	}
	out := map[string]*structType{}
	for _, f := range files {
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				ts := spec.(*ast.TypeSpec)
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				t := &structType{doc: text(gen.Doc)}
				for _, f := range st.Fields.List {
					if f.Tag == nil || len(f.Names) != 1 {
						continue
					}
					tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("hcl")
					name, kind, _ := strings.Cut(tag, ",")
					if name == "" {
						continue
					}
					doc := text(f.Doc)
					if doc == "" {
						doc = text(f.Comment)
					}
					t.fields = append(t.fields, field{name: name, kind: kind, typ: typeName(f.Type), doc: sentence(doc, f.Names[0].Name, name)})
				}
				if len(t.fields) > 0 {
					out[ts.Name.Name] = t
				}
			}
		}
	}
	return out, nil
}

// parsed are the files of a package, without its tests.
func parsed(dir string) ([]*ast.File, *token.FileSet, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, nil, err
	}
	var out []*ast.File
	fset := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return nil, nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out = append(out, f)
	}
	return out, fset, nil
}

func text(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

func typeName(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.ArrayType:
		return "[]" + typeName(t.Elt)
	case *ast.MapType:
		return "map[" + typeName(t.Key) + "]" + typeName(t.Value)
	case *ast.SelectorExpr:
		return t.Sel.Name
	}
	return fmt.Sprintf("%T", e)
}

// sentence is a doc comment as it stands in a table: of the attribute, not of the
// Go field.
func sentence(doc, goName, name string) string {
	doc = strings.ReplaceAll(doc, "|", "\\|")
	if rest, ok := strings.CutPrefix(doc, goName+" "); ok && goName != "" {
		for _, verb := range []string{"is ", "are ", "says that ", "says whether "} {
			rest = strings.TrimPrefix(rest, verb)
		}
		doc = strings.ToUpper(rest[:1]) + rest[1:]
	}
	return strings.ReplaceAll(doc, goName+" ", "`"+name+"` ")
}

// types are the words for Go's types; what is missing are bake's entries.
var types = map[string]string{
	"string": "string", "int": "number", "bool": "bool", "[]string": "list of strings", "map[string]string": "map of strings", "Resources": "object",
}

func typeWord(goType string) string {
	if w, ok := types[goType]; ok {
		return w
	}
	return "list of strings or objects"
}

// schema is what the blocks may hold.
type schema struct{ structs map[string]*structType }

// block is one that the page describes.
type block struct {
	name, in, goType, head string
	example                string
}

// blocks are in the order of the page. The examples are complete with what
// frame adds, and are planned by a test.
var blocks = []block{
	{"target", "", "Target", `target "app" { … }`, `target "app" {
  context   = "."
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["registry.example/app:1.2", "registry.example/app:latest"]
}`},
	{"platform", "target", "PlatformOverride", `platform "linux/arm/v6" { … }`, `target "app" {
  platforms = ["linux/amd64", "linux/arm/v6"]
  tags      = ["registry.example/app:1"]
  platform "linux/arm/v6" {
    args     = { LIGHT = "1" }
    optional = true
  }
}`},
	{"prepare", "target", "Prepare", `prepare { … }`, `target "app" {
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["registry.example/app:1"]
  prepare {
    command = ["go", "build", "-o", "dist/$TARGETPLATFORM/app", "."]
    env     = { GOFLAGS = "-trimpath" }
  }
}`},
	{"smoke", "target", "Smoke", `smoke { … }`, `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["registry.example/app:1"]
  smoke {
    command = ["--version"]
    timeout = "30s"
    expect {
      stdout = ["^app 1"]
    }
  }
}`},
	{"expect", "smoke", "Expect", `expect { … }`, ""},
	{"http", "smoke", "HTTP", `http { … }`, `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["registry.example/app:1"]
  smoke {
    http {
      port = 8080
      path = "/healthz"
      body = "ok"
    }
  }
}
device "pi" { host = "pi@pi.lan" }`},
	{"worker", "", "Worker", `worker "rack" { … }`, `target "app" {
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["registry.example/app:1"]
}
worker "here" { address = "auto" }
worker "rack" {
  address   = "ssh://build@rack.lan"
  platforms = ["linux/arm64"]
  slots     = 2
}`},
	{"tls", "worker", "TLS", `tls { … }`, ""},
	{"registry", "", "Registry", `registry "localhost:5000" { … }`, `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["localhost:5000/app:1"]
}
registry "localhost:5000" { embedded = true }`},
	{"device", "", "Device", `device "pi" { … }`, `target "app" {
  platforms = ["linux/arm/v6"]
  tags      = ["registry.example/app:1"]
  smoke { command = ["--version"] }
}
device "pi" {
  host     = "pi@pi.lan"
  platform = "linux/arm/v6"
}`},
	{"hook", "", "Hook", `hook "before-promote" { … }`, `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["registry.example/app:1"]
}
hook "before-promote" {
  command = ["./scan.sh"]
  timeout = "5m"
}`},
	{"release", "", "Release", `release { … }`, `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["registry.example/app:1"]
}
release {
  emulation = "forbid"
  arch_tags = ""
}`},
	{"sign", "release", "Sign", `sign { … }`, ""},
	{"audit", "", "Audit", `audit { … }`, `target "app" {
  platforms = ["linux/amd64"]
  tags      = ["registry.example/app:1"]
}
audit { ignore = ["setuid"] }`},
}

// leftOut finds the default in a comment.
var leftOut = regexp.MustCompile(`(?i)[;,.]? ?left out: ([^.;]+)`)

func (s *schema) page() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# targets.hcl\n\n<!-- Written by `go tool mage reference` from internal/config; do not edit. -->\n\n")
	b.WriteString("All blocks and attributes. What to build is the language of [docker buildx bake](https://docs.docker.com/build/bake/reference/): its `variable`, `function`, `group` and `target` blocks work as they do there ([what differs](bake.md)). All else is added by Archmage. How tasks are called is in [tasks.md](tasks.md); editors can check the JSON form by [targets.schema.json](targets.schema.json).\n")
	for _, bl := range blocks {
		t := s.structs[bl.goType]
		if t == nil {
			return nil, fmt.Errorf("the configuration has no type %s", bl.goType)
		}
		fmt.Fprintf(&b, "\n## %s\n\n`%s`", bl.name, bl.head)
		if bl.in != "" {
			fmt.Fprintf(&b, " in a [%s](#%s) block", bl.in, bl.in)
		}
		fmt.Fprintf(&b, "\n\n%s\n\n| name | type | default | meaning |\n|---|---|---|---|\n", intro(t.doc))
		for _, f := range t.fields {
			if f.kind == "label" {
				continue
			}
			typ, def, doc := s.describe(bl, f)
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, typ, def, doc)
		}
		if bl.name == "target" {
			b.WriteString("| `matrix`, `name` | map of lists, string |  | One target for each combination, as in bake |\n")
			for _, inner := range []string{"platform", "prepare", "smoke", "audit"} {
				fmt.Fprintf(&b, "| [`%s`](#%s) | block |  |  |\n", inner, inner)
			}
		}
		if bl.example != "" {
			fmt.Fprintf(&b, "\n```hcl\n%s\n```\n", bl.example)
		}
	}
	return b.Bytes(), nil
}

// intro is the doc comment of a struct without its Go name.
func intro(doc string) string {
	_, rest, ok := strings.Cut(doc, " is ")
	if !ok {
		return doc
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

func (s *schema) describe(bl block, f field) (typ, def, doc string) {
	doc = f.doc
	if d, ok := bakeDocs[f.name]; ok && bl.name == "target" && doc == "" {
		doc = d
	}
	if d, ok := plainDocs[bl.name+"."+f.name]; ok {
		doc = d
	}
	if m := leftOut.FindStringSubmatch(doc); m != nil {
		def, doc = m[1], strings.TrimSpace(strings.Replace(doc, m[0], "", 1))
	}
	if d, ok := defaults[bl.name+"."+f.name]; ok {
		def = d
	}
	switch f.kind {
	case "block":
		return "[block](#" + f.name + ")", def, doc
	case "":
		def = "*required*"
	}
	return typeWord(f.typ), def, strings.TrimSuffix(doc, ".")
}

// defaults are those that the comments do not name, as they are written.
var defaults = map[string]string{
	"target.context": "`\".\"`", "target.dockerfile": "`\"Dockerfile\"`", "target.platforms": "this machine's",
	"smoke.timeout": "`\"60s\"`", "smoke.retries": "`0`", "expect.exit_code": "`0`",
	"http.path": "`\"/\"`", "http.status": "`200`", "http.interval": "`\"500ms\"`",
	"worker.address": "`\"auto\"`", "worker.slots": "`4`", "worker.push": "`\"worker\"`",
	"registry.embedded": "`false`", "registry.insecure": "`false`",
	"device.pull_timeout": "`\"10m\"`", "device.optional": "`false`", "device.accept_new": "`false`", "device.lend_credentials": "`false`",
	"release.emulation": "`\"warn\"`", "release.attestations": "`\"keep\"`", "release.media_types": "`\"oci\"`",
	"release.arch_tags": "`\"{tag}-{arch}{variant}\"`", "release.prove": "`true`", "release.tag_policy": "`\"all\"`", "release.fail_on": "`\"error\"`", "sign.password_env": "`\"COSIGN_PASSWORD\"`",
	"platform.optional": "`false`", "platform.repair": "`false`",
}

// bakeDocs say in few words what bake's reference says at length.
var bakeDocs = map[string]string{
	"description": "For `plan -list=targets`", "inherits": "Targets whose attributes this one takes over",
	"annotations": "OCI annotations, `index:`, `manifest:`, `manifest[linux/arm64]:` or `index,manifest:` before `KEY=VALUE`",
	"attest":      "Attestations to make: `type=provenance`, `type=sbom`", "context": "The directory or address that is built",
	"contexts": "More contexts by name: a directory, `docker-image://…`, `target:NAME`, `oci-layout://…` or an address", "dockerfile": "Relative to the context",
	"dockerfile-inline": "The text of the Dockerfile itself", "args": "Values of the Dockerfile's `ARG`s", "labels": "Labels of the image",
	"tags": "What is published, with the registry: `registry.example/app:1`", "cache-from": "Caches to read", "cache-to": "Caches to write",
	"target": "The stage of the Dockerfile", "secret": "Secrets of `RUN --mount=type=secret`", "ssh": "Agents and keys of `RUN --mount=type=ssh`",
	"platforms": "What it is built for, in the order of the index", "output": "Options of the image that is pushed; see [bake.md](bake.md#outputs)",
	"pull": "Ask for newer base images", "no-cache": "Build without cache", "network": "`default`, `host` or `none` for `RUN` steps",
	"no-cache-filter": "Stages built without cache", "shm-size": "Size of `/dev/shm` of `RUN` steps", "ulimits": "Limits of `RUN` steps",
	"resources": "Memory and processors of `RUN` steps", "call": "Only `build` is for a release", "entitlements": "What `RUN --security` and `--network` may ask for",
	"extra-hosts": "Lines of `/etc/hosts` of `RUN` steps", "policy": "Not evaluated: refused",
}

// plainDocs say what the comments leave to the name, or say of several at once.
var plainDocs = map[string]string{
	"platform.args": "Values of `ARG`s, over those of the target; null takes one away", "platform.context": "Another context", "platform.dockerfile": "Another Dockerfile",
	"platform.target": "Another stage", "platform.os": "Written into the descriptor in the index; `\"\"` or null clears the field", "platform.architecture": "As `os`",
	"platform.variant": "As `os`", "platform.os_version": "As `os`: the build of Windows", "platform.os_features": "As `os`; `[]` clears it",
	"smoke.env": "Environment of the container", "smoke.expect": "What the run must give", "smoke.http": "A check of the running container, from the device",
	"expect.exit_code": "The code that the program ends with; not judged with `http`", "expect.stdout": "[Regular expressions](https://pkg.go.dev/regexp/syntax) that must match, line by line, anywhere in the output",
	"expect.stderr": "As `stdout`", "expect.not_stdout": "Regular expressions that must not match", "expect.not_stderr": "As `not_stdout`",
	"http.port": "The port in the container", "http.path": "What is asked for", "http.status": "The status of the answer", "http.interval": "Time between two tries",
	"worker.emulates": "Platforms that it may build by emulation, where `release { emulation }` allows it", "worker.tls": "Certificates of a `tcp://` address",
	"tls.ca": "PEM file that signs the daemon's certificate", "tls.cert": "PEM file of the client's certificate", "tls.key": "PEM file of its key", "tls.server_name": "The name in the daemon's certificate, where the address has another",
	"device.optional": "May be unreachable or fail, by name in the report", "device.run_args": "More options of `docker run`: `[\"--device=/dev/gpiomem\"]`",
	"release.sign": "Signs what is released",
}

// jsonSchema describes the JSON form of the files for editors: targets.json
// named by ARCHMAGE_FILE, docker-bake.json.
func (s *schema) jsonSchema() ([]byte, error) {
	defs := map[string]any{}
	for _, bl := range blocks {
		props := map[string]any{}
		var required []string
		for _, f := range s.structs[bl.goType].fields {
			switch f.kind {
			case "label":
				continue
			case "block":
				props[f.name] = map[string]any{"$ref": "#/$defs/" + f.name}
				continue
			case "":
				required = append(required, f.name)
			}
			p := map[string]any{}
			_, _, doc := s.describe(bl, f)
			if doc != "" {
				p["description"] = doc
			}
			switch f.typ {
			case "string":
				p["type"] = []string{"string", "null"}
			case "int":
				p["type"] = []string{"integer", "string"}
			case "bool":
				p["type"] = []string{"boolean", "string", "null"}
			case "[]string":
				p["type"], p["items"] = "array", map[string]any{"type": []string{"string", "null"}}
			case "map[string]string":
				p["type"] = "object"
			}
			props[f.name] = p
		}
		if bl.name == "target" {
			props["matrix"], props["name"] = map[string]any{"type": "object"}, map[string]any{"type": "string"}
			props["platform"] = labelled("platform")
			for _, inner := range []string{"prepare", "audit"} {
				props[inner] = map[string]any{"$ref": "#/$defs/" + inner}
			}
			props["smoke"] = oneOrMore("smoke")
		}
		d := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
		if required != nil {
			d["required"] = required
		}
		defs[bl.name] = d
	}
	top := map[string]any{"variable": map[string]any{"type": "object"}, "function": map[string]any{"type": "object"}, "group": map[string]any{"type": "object"}}
	for _, name := range []string{"target", "worker", "registry", "device", "hook"} {
		top[name] = labelled(name)
	}
	for _, name := range []string{"release", "audit"} {
		top[name] = map[string]any{"$ref": "#/$defs/" + name}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "targets.hcl in its JSON form",
		"type": "object", "properties": top, "$defs": defs,
	})
	return b.Bytes(), err
}

func labelled(name string) map[string]any {
	return map[string]any{"type": "object", "additionalProperties": map[string]any{"$ref": "#/$defs/" + name}}
}

func oneOrMore(name string) map[string]any {
	ref := map[string]any{"$ref": "#/$defs/" + name}
	return map[string]any{"anyOf": []any{ref, map[string]any{"type": "array", "items": ref}}}
}
