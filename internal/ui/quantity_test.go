package ui

import (
	"math"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	tests := map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345_678: "12.3 MB", 999_949: "999.9 kB",
		999_960: "1.0 MB", 999_999_999: "1.0 GB", math.MaxInt64: "9.2 EB", -12_345: "-12.3 kB",
		math.MinInt64: "-9.2 EB",
	}
	for n, want := range tests {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	tests := map[time.Duration]string{
		-time.Second:                         "0 ms",
		0:                                    "0 ms",
		850*time.Millisecond + 400_000:       "850 ms",
		999*time.Millisecond + 600_000:       "1.0 s",
		4200 * time.Millisecond:              "4.2 s",
		59*time.Second + 960_000_000:         "1m 00s",
		64 * time.Second:                     "1m 04s",
		59*time.Minute + 59_600*1_000_000:    "1h 00m",
		2*time.Hour + 3*time.Minute:          "2h 03m",
		100*time.Hour + 29*time.Second:       "100h 00m",
		time.Minute - 100*time.Millisecond:   "59.9 s",
		time.Hour - 1*time.Second:            "59m 59s",
		time.Second:                          "1.0 s",
		time.Second - 600*time.Microsecond:   "999 ms",
		500 * time.Microsecond:               "1 ms",
		1500*time.Millisecond + 40_000_000:   "1.5 s",
		90*time.Minute + 31*time.Second:      "1h 31m",
		61*time.Second + 400*1_000_000:       "1m 01s",
		119*time.Second + 500*1_000_000:      "2m 00s",
		59*time.Second + 949*1_000_000:       "59.9 s",
		23*time.Hour + 59*time.Minute + 31e9: "24h 00m",
	}
	for d, want := range tests {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}
