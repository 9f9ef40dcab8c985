package release

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"

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

// readFile reads the file that an attribute names.
func readFile(path, given string) ([]byte, error) {
	if given == "" {
		return nil, errors.New("cert and key go together, and one is left out")
	}
	return os.ReadFile(path)
}
