package config

import "github.com/hashicorp/hcl/v2"

// Where finds the place of an attribute of the release block, or of element i
// of it where i ≥ 0; nil where there is no such block.
func (r *Release) Where(name string, i int) *hcl.Range { return at(r.Body, name, i) }

// Where finds the place of an attribute of the device block.
func (d *Device) Where(name string) *hcl.Range { return at(d.Body, name, -1) }

// Where finds the smoke block.
func (s *Smoke) Where() *hcl.Range {
	if s.Body == nil {
		return nil
	}
	return s.Body.MissingItemRange().Ptr()
}

// Where finds the place of an attribute of the prepare block, or the block.
func (p *Prepare) Where(name string) *hcl.Range { return at(p.Body, name, -1) }

// Where finds the place of an attribute of the registry block.
func (r *Registry) Where(name string) *hcl.Range { return at(r.Body, name, -1) }

// Where finds the place of an attribute of the tls block.
func (t *TLS) Where(name string) *hcl.Range { return at(t.Body, name, -1) }

// Where finds the place of an attribute of the sign block.
func (s *Sign) Where(name string) *hcl.Range { return at(s.Body, name, -1) }

// Everything returns all targets with everything inherited, those that cannot
// be resolved left out.
func (c *Config) Everything() []*Target {
	var out []*Target
	for _, t := range c.Targets {
		if r, err := c.Resolve(t.Name); err == nil {
			out = append(out, r)
		}
	}
	return out
}
