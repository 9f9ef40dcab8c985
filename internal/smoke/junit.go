package smoke

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"time"
)

// The form that Jenkins, GitLab and GitHub actions read:
// https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Class     string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Skipped   *junitMessage `xml:"skipped"`
	Error     *junitMessage `xml:"error"`
	Failure   *junitMessage `xml:"failure"`
	SystemOut string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML: a suite a device. What an image
// did wrong is a failure; a device that could not try it is an error, or
// skipped where the device is optional; so is what ran under emulation.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: "archmage smoke", Time: seconds(r.Seconds)}
	for _, d := range r.Devices {
		s := junitSuite{Name: d.Name, Time: seconds(d.Seconds), Timestamp: r.Started.UTC().Format(time.RFC3339)}
		for _, x := range r.Results {
			if x.Device == d.Name {
				s.add(x)
			}
		}
		all.add(s)
	}
	if len(r.Unproven) > 0 {
		s := junitSuite{Name: string(NotProven), Time: seconds(0), Timestamp: r.Started.UTC().Format(time.RFC3339)}
		for _, u := range r.Unproven {
			s.Tests, s.Skipped = s.Tests+1, s.Skipped+1
			s.Cases = append(s.Cases, junitCase{Name: u.Platform, Class: u.Target, Time: seconds(0), Skipped: &junitMessage{Message: u.Why}})
		}
		all.add(s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("writing the JUnit report: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return fmt.Errorf("writing the JUnit report: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (a *junitSuites) add(s junitSuite) {
	a.Suites = append(a.Suites, s)
	a.Tests, a.Failures, a.Errors = a.Tests+s.Tests, a.Failures+s.Failures, a.Errors+s.Errors
}

func (s *junitSuite) add(x Result) {
	c := junitCase{Name: x.Case, Class: x.Target, Time: seconds(x.Pull + x.Seconds), SystemOut: x.Tail}
	if c.Name == "" {
		c.Name = "smoke"
	}
	if x.Platform != "" {
		c.Name += " (" + x.Platform + ")"
	}
	message := &junitMessage{Type: string(x.Verdict), Message: x.Reason, Text: x.Hint}
	switch {
	case x.Verdict == Passed:
	case x.Verdict == Skipped, x.Verdict == Emulated, x.Verdict == NotProven, x.Verdict.Bad() && x.Optional:
		message.Type, message.Text = "", ""
		if x.Reason == "" {
			message.Message = string(x.Verdict)
		}
		c.Skipped = message
		s.Skipped++
	case x.Verdict == Unreachable:
		c.Error = message
		s.Errors++
	default:
		c.Failure = message
		s.Failures++
	}
	s.Tests++
	s.Cases = append(s.Cases, c)
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
