package sshtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// Host is a network namespace on a cable to this machine: its loopback is its
// own.
type Host struct {
	Name string
	// Outer and Inner are the addresses of this machine and of the host.
	Outer, Inner string

	veth string
}

// cables is how many hosts fit into 10.231.0.0/16, four addresses each.
const cables = 1 << 14

// NewHost makes a host that goes with the test. It needs root.
func NewHost(t testing.TB) *Host {
	t.Helper()
	embeddedtest.Need(t, os.Getuid() == 0, "a machine of the test's own needs root")
	embeddedtest.Program(t, "ip", "iproute2")
	// The kernel takes a name once, so tests of other processes get other numbers.
	for range 100 {
		n := rand.IntN(cables)
		h := &Host{Name: fmt.Sprintf("amh%d", n), veth: fmt.Sprintf("amh%d", n)}
		if out, err := exec.Command("ip", "netns", "add", h.Name).CombinedOutput(); err != nil {
			if strings.Contains(string(out), "File exists") {
				continue
			}
			embeddedtest.Need(t, false, "no network namespaces here: "+strings.TrimSpace(string(out)))
		}
		t.Cleanup(func() { embeddedtest.Run(t, "ip", "netns", "del", h.Name) })
		net := fmt.Sprintf("10.231.%d.", n/64)
		h.Outer, h.Inner = net+fmt.Sprint(n%64*4+1), net+fmt.Sprint(n%64*4+2)
		embeddedtest.Run(t, "ip", "link", "add", h.veth, "type", "veth", "peer", "name", "eth0", "netns", h.Name)
		embeddedtest.Run(t, "ip", "addr", "add", h.Outer+"/30", "dev", h.veth)
		embeddedtest.Run(t, "ip", "link", "set", h.veth, "up")
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"addr", "add", h.Inner + "/30", "dev", "eth0"},
			{"link", "set", "eth0", "up"},
			{"route", "add", "default", "via", h.Outer},
		} {
			embeddedtest.Run(t, "ip", append([]string{"-n", h.Name}, args...)...)
		}
		return h
	}
	t.Fatal("all numbers of hosts are taken: remove what is left with `ip netns del`")
	return nil
}

// Command is how a program is started on the host, with mounts of its own.
func (h *Host) Command() []string { return []string{"ip", "netns", "exec", h.Name} }

// Enter is how a program is started on the host with this machine's mounts.
func (h *Host) Enter() []string { return []string{"nsenter", "--net=/run/netns/" + h.Name} }

// Cut takes the cable out.
func (h *Host) Cut(t testing.TB) {
	t.Helper()
	embeddedtest.Run(t, "ip", "link", "set", h.veth, "down")
}

// Plug puts the cable back.
func (h *Host) Plug(t testing.TB) {
	t.Helper()
	embeddedtest.Run(t, "ip", "link", "set", h.veth, "up")
}
