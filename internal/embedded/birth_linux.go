package embedded

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/process"
)

// birth returns the boot and the clock tick after it at which p began
// (proc_pid_stat(5), field 22). Unlike a time of day it does not move when
// the clock is set.
func birth(p *process.Process) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the id of this boot: %w", err)
	}
	name := "/proc/" + strconv.Itoa(int(p.Pid)) + "/stat"
	stat, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", name, err)
	}
	ticks, err := startTicks(string(stat))
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", name, err)
	}
	return strings.TrimSpace(string(boot)) + "/" + ticks, nil
}

// startTicks returns field 22 of a /proc/PID/stat line. The second field, the
// program's name in parentheses, may itself hold spaces and parentheses.
func startTicks(stat string) (string, error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	const after = 22 - 3 // the first field after the name is the third
	if end < 0 || len(fields) <= after {
		return "", fmt.Errorf("no start time in %q", stat)
	}
	if _, err := strconv.ParseUint(fields[after], 10, 64); err != nil {
		return "", fmt.Errorf("reading start time %q: %w", fields[after], err)
	}
	return fields[after], nil
}
