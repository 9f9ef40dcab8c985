// Package smoke runs released images on devices and judges what they did.
package smoke

// Verdict is how one case went on one device.
type Verdict string

// The verdicts, the worst last.
const (
	Skipped       Verdict = "skipped"        // nothing to run there
	Passed        Verdict = "passed"         // ran on the platform's own hardware, as expected
	Emulated      Verdict = "emulated"       // ran as expected, but under emulation: no proof
	NotProven     Verdict = "not proven"     // no device ran it
	Unreachable   Verdict = "unreachable"    // the device could not be used
	WrongPlatform Verdict = "wrong platform" // the image, or the device, is for another
	PullFailed    Verdict = "pull failed"
	Failed        Verdict = "failed" // started, and did not do as expected
	TimedOut      Verdict = "timed out"
)

var order = map[Verdict]int{
	Skipped: 0, Passed: 1, Emulated: 2, NotProven: 3, Unreachable: 4, WrongPlatform: 5, PullFailed: 6, Failed: 7, TimedOut: 8,
}

// Bad says whether a required device must not have this verdict.
func (v Verdict) Bad() bool { return order[v] >= order[Unreachable] }

// Worse says whether v is worse than o. An unknown verdict is the worst.
func (v Verdict) Worse(o Verdict) bool { return rank(v) > rank(o) }

func rank(v Verdict) int {
	if r, ok := order[v]; ok {
		return r
	}
	return len(order)
}
