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
