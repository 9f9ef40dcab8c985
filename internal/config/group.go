package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// maxDevices is how many devices one block may stand for.
const maxDevices = 1000

// checkDevices checks the device blocks, and puts in place of each that has hosts
// the devices that it stands for.
func (c *Config) checkDevices() hcl.Diagnostics {
	var diags hcl.Diagnostics
	var all []*Device
	for _, d := range c.Devices {
		if d.Hosts == nil {
			diags = append(diags, c.checkDevice(d)...)
			all = append(all, d)
			continue
		}
		hosts, more := d.hosts()
		diags = append(diags, more...)
		if len(hosts) == 0 {
			continue
		}
		d.Host = hosts[0] // one block, one list of mistakes
		diags = append(diags, c.checkDevice(d)...)
		for _, host := range hosts {
			one := *d
			one.Host, one.Hosts, one.Group, one.Name = host, nil, d.Name, d.Name+"-"+hostWord(host)
			all = append(all, &one)
		}
	}
	seen := map[string]*Device{}
	for _, d := range all {
		if other := seen[d.Name]; other != nil {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Two devices of one name", Detail: fmt.Sprintf("Hosts %q and %q would both be device %q.", other.Host, d.Host, d.Name), Subject: at(d.Body, "hosts", -1),
			})
			break
		}
		seen[d.Name] = d
	}
	c.Devices = all
	return diags
}

// hosts are those of the block, with ranges written out.
func (d *Device) hosts() ([]string, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	fail := func(i int, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid hosts", Detail: fmt.Sprintf(format, args...), Subject: at(d.Body, "hosts", i)})
	}
	switch {
	case len(d.Hosts) == 0:
		fail(-1, "Device %q has no hosts. Name them, or remove the block.", d.Name)
	case d.Host != "" || d.Worker != "":
		fail(-1, "Device %q has hosts and another place as well; keep one of them.", d.Name)
	case d.HostKey != "":
		fail(-1, "Device %q pins one host key, which not all of its hosts can have. Put their keys into known_hosts.", d.Name)
	}
	var out []string
	for i, text := range d.Hosts {
		hosts, err := writeOut(text)
		switch {
		case err != nil:
			fail(i, "%s", Sentence(err))
		case !validHost(text) || text == "local":
			fail(i, "The host %q is none that ssh reaches: write it as for ssh, such as \"pi@pi7.lan\" or \"pi@pi[1-20].lan\".", text)
		}
		out = append(out, hosts...)
	}
	if len(out) > maxDevices {
		fail(-1, "Device %q stands for %d hosts; %d are the most.", d.Name, len(out), maxDevices)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	return out, nil
}

// hostRange is the part of a host that stands for several: "[1-20]", or "[01-20]"
// for numbers of two digits.
var hostRange = regexp.MustCompile(`\[(\d{1,6})-(\d{1,6})\]`)

// writeOut gives the hosts that a text with ranges stands for.
func writeOut(text string) ([]string, error) {
	m := hostRange.FindStringSubmatchIndex(text)
	if m == nil {
		return []string{text}, nil
	}
	low := text[m[2]:m[3]]
	first, _ := strconv.Atoi(low) // digits, few enough
	last, _ := strconv.Atoi(text[m[4]:m[5]])
	if first > last || last-first >= maxDevices {
		return nil, fmt.Errorf("the range %s must go from a number to a larger one, over %d hosts at most", text[m[0]:m[1]], maxDevices)
	}
	rest, err := writeOut(text[m[1]:])
	if err != nil {
		return nil, err
	}
	width := 0
	if strings.HasPrefix(low, "0") {
		width = len(low)
	}
	var out []string
	for n := first; n <= last; n++ {
		for _, r := range rest {
			out = append(out, fmt.Sprintf("%s%0*d%s", text[:m[0]], width, n, r))
			if len(out) > maxDevices {
				return nil, fmt.Errorf("%q stands for more than %d hosts", text, maxDevices)
			}
		}
	}
	return out, nil
}

// hostWord is a host in the letters of a device's name, without the user.
func hostWord(host string) string {
	host = strings.TrimPrefix(host, "ssh://")
	host = host[strings.LastIndexByte(host, '@')+1:]
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, host), "-")
}

// validHost reports whether a host is one that ssh would not take for anything else.
func validHost(host string) bool {
	return host != "" && !strings.HasPrefix(host, "-") && !strings.ContainsFunc(host, notOfHost)
}

// notOfHost reports whether no host or ssh alias has the letter.
func notOfHost(r rune) bool { return r <= ' ' || strings.ContainsRune("'`\"$\\;&<>|(){}\x7f", r) }
