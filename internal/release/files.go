package release

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/sign"
)

// checkFiles finds files that the blocks of a configuration name and that are
// not what they must be: certificates and keys.
func (w *Workspace) checkFiles(p *plan.Plan) hcl.Diagnostics {
	var diags hcl.Diagnostics
	fail := func(subject *hcl.Range, what, path string, err error) {
		if err == nil {
			return
		}
		problem := err.Error()
		var pathErr *os.PathError
		switch {
		case errors.Is(err, os.ErrNotExist):
			problem = "it is not there"
		case errors.As(err, &pathErr):
			problem = pathErr.Err.Error()
		}
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Unusable file", Subject: subject,
			Detail: fmt.Sprintf("%s, %s, cannot be used: %s. Correct the path, or put the file there.", what, w.absolute(path), problem),
		})
	}
	for _, r := range p.Registries {
		if r.CA != "" {
			_, err := registry.ReadCA(w.absolute(r.CA))
			fail(r.Where("ca"), fmt.Sprintf("The CA of registry %q", r.Host), r.CA, err)
		}
	}
	for _, worker := range p.Workers {
		t := worker.TLS
		if t == nil {
			continue
		}
		if t.CA != "" {
			_, err := registry.ReadCA(w.absolute(t.CA))
			fail(t.Where("ca"), fmt.Sprintf("The CA of worker %q", worker.Name), t.CA, err)
		}
		if t.Cert == "" && t.Key == "" {
			continue
		}
		cert, certErr := readFile(w.absolute(t.Cert), t.Cert)
		key, keyErr := readFile(w.absolute(t.Key), t.Key)
		fail(t.Where("cert"), fmt.Sprintf("The client certificate of worker %q", worker.Name), t.Cert, certErr)
		fail(t.Where("key"), fmt.Sprintf("The client key of worker %q", worker.Name), t.Key, keyErr)
		if certErr == nil && keyErr == nil {
			_, err := tls.X509KeyPair(cert, key)
			fail(t.Where("cert"), fmt.Sprintf("The client certificate of worker %q with its key", worker.Name), t.Cert, err)
		}
	}
	if s := p.Release.Sign; s != nil {
		var key *sign.KeyError
		if errors.As(sign.Check(w.absolute(s.Key)), &key) {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Unusable file", Subject: s.Where("key"),
				Detail: fmt.Sprintf("The signing key, %s, %s: %s.", w.absolute(s.Key), key.Reason, key.Hint),
			})
		}
	}
	return diags
}

// checkOutputs finds outputs that could not be written.
func (w *Workspace) checkOutputs(p *plan.Plan) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, t := range p.Targets {
		for _, o := range t.Outputs {
			if err := writable(w.absolute(o.Dest), o.Dir); err != nil {
				diags = append(diags, &hcl.Diagnostic{
					Severity: hcl.DiagError, Summary: "Unusable output", Subject: t.Spec.Where("output", ""),
					Detail: fmt.Sprintf("Target %q writes to %s: %v. Name another place, or make it writable.", t.Name, o.Dest, err),
				})
			}
		}
	}
	return diags
}

// writable is an error where a file or directory could not be written: it, or the
// next directory above it that is there.
func writable(path string, dir bool) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, os.ErrNotExist) && filepath.Dir(at) != at:
			continue
		case err != nil:
			return err
		case at == path && !dir:
			continue // it is replaced, which its directory allows
		case !info.IsDir():
			return fmt.Errorf("%s is a file, not a directory", at)
		}
		if err := mayWrite(at); err != nil {
			return fmt.Errorf("the directory %s cannot be written to: %w", at, err)
		}
		return nil
	}
}

// readFile reads the file that an attribute names.
func readFile(path, given string) ([]byte, error) {
	if given == "" {
		return nil, errors.New("cert and key go together, and one is left out")
	}
	return os.ReadFile(path)
}
