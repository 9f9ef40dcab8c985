package tasks

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWords compares with mage itself, over random command lines: what mage runs
// to the end is not refused, and what it refuses after a task has run is refused
// before.
func TestWords(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "words")
	cmd := exec.Command("go", "tool", "mage", "-d", "testdata/words", "-compile", bin)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling the magefile: %v\n%s", err, out)
	}
	run := func(args ...string) (string, int) {
		cmd := exec.Command(bin, args...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	told := map[string]string{}
	ask := func(args ...string) (string, error) {
		key := strings.Join(args, " ")
		if _, ok := told[key]; !ok {
			told[key], _ = run(args...)
		}
		return told[key], nil
	}
	words := []string{
		"up", "UP", "release", "r", "explain", "copy", "img:publish", "np", "greeter", "relese", "img:release", "a", "b",
		"-targets=a", "-Targets=a,b", "-targets", "-dryRun", "-dryrun=false", "-dryRun=maybe", "-dry-run", "--targets=a", "-jobs=3", "-jobs=x",
		"-keep=7d", "-keep=48h", "-share=0.5", "-share=half", "-tag=1", "-force", "-force=1", "-nor=1", "-bogus=1", "-x", "-", "--", "",
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused, late, fine := 0, 0, 0
	for range 400 {
		var args []string
		for range 1 + random.IntN(5) {
			args = append(args, words[random.IntN(len(words))])
		}
		if random.IntN(3) > 0 { // more that go well
			args = append([]string{words[random.IntN(8)]}, args...)
		}
		out, code := run(args...)
		err := checkWords(args, ask)
		var unknown *unknownError
		switch ran := strings.Contains(out, "ran "); {
		case err != nil && !errors.As(err, &unknown):
			t.Fatal(err)
		case code == 0 && ran && err != nil:
			t.Errorf("%q: mage runs it, and it is refused: %v", args, err)
		case code == 2 && ran && err == nil && !strings.Contains(out, "not enough arguments"):
			t.Errorf("%q: mage ran a task and then refused the rest:\n%s", args, out)
		case code == 2 && ran:
			late++
		case err != nil:
			refused++
		default:
			fine++
		}
	}
	t.Logf("%d lines that mage refuses too late, %d refused by both or before mage, %d fine", late, refused, fine)
	if late < 20 || fine < 20 {
		t.Error("the command lines try too little")
	}
}
