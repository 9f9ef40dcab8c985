package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Bytes formats a size in SI units with one decimal: "12.3 MB", "512 B".
func Bytes(n int64) string {
	if n > -1000 && n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	sign, size := "", float64(n)
	if n < 0 {
		sign, size = "-", -size
	}
	names := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	text := units.CustomSize("%.1f %s", size, 1000, names)
	if strings.HasPrefix(text, "1000.0 ") {
		// 999,960 B rounds up into the next unit.
		text = units.CustomSize("%.1f %s", size*1.0001, 1000, names)
	}
	return sign + text
}

// Duration formats a time span by its two largest units: "850 ms", "4.2 s",
// "1m 04s", "2h 03m". What is negative counts as nothing.
func Duration(d time.Duration) string {
	d = max(d, 0)
	if ms := d.Round(time.Millisecond); ms < time.Second {
		return fmt.Sprintf("%d ms", ms.Milliseconds())
	}
	if tenth := d.Round(100 * time.Millisecond); tenth < time.Minute {
		return fmt.Sprintf("%.1f s", tenth.Seconds())
	}
	if s := d.Round(time.Second); s < time.Hour {
		return fmt.Sprintf("%dm %02ds", s/time.Minute, s%time.Minute/time.Second)
	}
	m := d.Round(time.Minute)
	return fmt.Sprintf("%dh %02dm", m/time.Hour, m%time.Hour/time.Minute)
}

// Seconds is Duration without parts of a second, for a clock: "12 s", "1m 04s".
func Seconds(d time.Duration) string {
	if s := max(d, 0).Truncate(time.Second); s < time.Minute {
		return fmt.Sprintf("%d s", s/time.Second)
	}
	return Duration(d.Truncate(time.Second))
}
