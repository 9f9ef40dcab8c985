//go:build !linux

package embedded

import (
	"strconv"

	"github.com/shirou/gopsutil/v4/process"
)

// birth returns when p began, in milliseconds since 1970.
func birth(p *process.Process) (string, error) {
	ms, err := p.CreateTime()
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(ms, 10), nil
}
