package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/archmage-build/archmage/internal/ui"
)

// dashes takes flags as mage has them, -targets=app and -dryRun, for what they
// mean here.
func dashes(root *cobra.Command, args []string) []string {
	known := map[string]bool{"help": true, "version": true}
	for _, c := range append(root.Commands(), root) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = arg
		if arg == "--" || i == 0 && strings.HasPrefix(arg, cobra.ShellCompRequestCmd) {
			copy(out[i:], args[i:])
			break
		}
		if len(arg) < 3 || arg[0] != '-' || arg[1] == '-' {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(ui.Dashed(arg), "--"), "=")
		if known[name] {
			out[i] = ui.Dashed(arg)
		}
	}
	return out
}

// flagError says which flag was meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" && len(unknown.GetSpecifiedShortnames()) > 1 {
			name = unknown.GetSpecifiedShortnames()
			return &usageError{fmt.Sprintf("%s has no flag -%s", cmd.Name(), name), nearFlag(cmd, name)}
		}
		dash := "--"
		if len(name) == 1 {
			dash = "-"
		}
		return &usageError{fmt.Sprintf("%s has no flag %s%s", cmd.Name(), dash, name), nearFlag(cmd, name)}
	case errors.As(err, &missing):
		return &usageError{fmt.Sprintf("the flag --%s has no value", missing.GetFlag().Name), fmt.Sprintf("write --%s=…", missing.GetFlag().Name)}
	case errors.As(err, &invalid):
		cause := invalid.Unwrap()
		var number *strconv.NumError
		if errors.As(cause, &number) {
			cause = fmt.Errorf("it is on or off: write --%s", invalid.GetFlag().Name)
		}
		return &usageError{fmt.Sprintf("the flag --%s cannot be %q: %v", invalid.GetFlag().Name, invalid.GetValue(), cause), ""}
	}
	return &usageError{problem: err.Error()}
}

// nearFlag is the hint for a flag that a command does not know.
func nearFlag(cmd *cobra.Command, name string) string {
	best, distance := "", 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := levenshtein.Distance(name, f.Name, nil); !f.Hidden && d < distance && d < len(f.Name) {
			best, distance = f.Name, d
		}
	})
	if best != "" {
		return fmt.Sprintf("did you mean --%s?", best)
	}
	var have []string
	for _, c := range cmd.Root().Commands() {
		if f := c.Flags().Lookup(name); f != nil && !f.Hidden {
			have = append(have, c.Name())
		}
	}
	if len(have) > 0 {
		return fmt.Sprintf("--%s is for %s", name, strings.Join(have, ", "))
	}
	return ""
}

// days is a duration that may be of days: 7d.
type days time.Duration

func (d *days) String() string { return time.Duration(*d).String() }
func (d *days) Type() string   { return "duration" }

func (d *days) Set(s string) error {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if v, err := strconv.ParseFloat(n, 64); err == nil && v >= 0 {
			*d = days(v * 24 * float64(time.Hour))
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return errors.New("write for example 48h or 7d")
	}
	*d = days(v)
	return nil
}
