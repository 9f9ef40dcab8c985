package journal

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	t.Parallel()
	s := Open(filepath.Join(t.TempDir(), Dir))
	var last string
	for range 5 { // all within a second
		r, err := s.New(Release)
		if err != nil {
			t.Fatal(err)
		}
		if r.ID <= last {
			t.Errorf("%s does not sort behind %s", r.ID, last)
		}
		last = r.ID
		if err := r.Save(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.New(Release)
	if err != nil {
		t.Fatal(err)
	}
	ahead := time.Now().UTC().Add(time.Hour).Format(idTime) + "-ffffff"
	if s.Behind(r, ahead); r.ID <= ahead {
		t.Errorf("%s does not sort behind %s of another machine", r.ID, ahead)
	}
	was := r.ID
	if s.Behind(r, "99991231T235959Z-ffffff"); r.ID != was {
		t.Errorf("a clock that is wrong was followed: %s", r.ID)
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), Dir)
	s := Open(dir)
	r, err := s.New(Release)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"cut":           `{"schema":2,"id":"` + r.ID,
		"newer":         `{"schema":99,"id":"` + r.ID + `"}`,
		"another's":     `{"schema":2,"id":"20000101T000000Z-000000"}`,
		"not an object": `[]`,
	} {
		if err := os.WriteFile(s.file(r.ID), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var bad *RecordError
		if _, err := Open(dir).Newest(); !errors.As(err, &bad) || bad.Remedy() == "" || !strings.Contains(err.Error(), r.ID) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// Files that are called differently are no records.
	if err := os.WriteFile(filepath.Join(s.records(), "zzz.json"), []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := Open(dir).IDs(); err != nil || len(ids) != 1 {
		t.Errorf("records %q, %v", ids, err)
	}
}

// Records of the schema before this one are read.
func TestSchema1(t *testing.T) {
	t.Parallel()
	s := Open(filepath.Join(t.TempDir(), Dir))
	id := "20260102T030405Z-abcdef"
	text := `{"schema":1,"id":"` + id + `","kind":"rollback","step":"verified","undoes":"20260101T000000Z-000000","targets":null,
"smoke":{"schema":1},"moves":[{"target":"a","tag":"r:1","digest":"sha256:a"}]}`
	if err := os.MkdirAll(s.records(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file(id), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.Newest()
	if err != nil || len(r.Undoes) != 1 || !r.Closed() || len(r.Moves) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Nobody else reads what is kept, whatever the umask was when an older archmage
// made it; the lock cannot be held by whom it is not for.
func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := Open(dir)
	unlock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	r, err := s.New(Release)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Join(dir, "lock"): 0o600, s.file(r.ID): 0o600, s.records(): 0o700} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s is %o, want %o", path, st.Mode().Perm(), want)
		}
	}
	var busy *BusyError
	if _, err := Open(dir).Lock(); !errors.As(err, &busy) || busy.Holder == "" {
		t.Errorf("a second lock: %v", err)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	r := &Record{Kind: Release, Step: Uploaded, Targets: []*Target{{
		Name: "a", Index: "sha256:i", Inspected: &Check{},
		Children: []*Child{{Platform: "linux/amd64", Inputs: "new"}},
		Earlier:  []*Child{{Platform: "linux/amd64", Inputs: "old"}, {Platform: "linux/arm64", Inputs: "old"}},
	}}}
	r.Restart()
	tr := r.Target("a")
	if len(tr.Children) != 0 || tr.Index != "" || tr.Inspected != nil || r.Step != Building {
		t.Errorf("what an earlier attempt made would be published: %+v", tr)
	}
	got := map[string]string{}
	r.Past(func(_ string, c *Child) { got[c.Platform] = c.Inputs })
	if got["linux/amd64"] != "new" || got["linux/arm64"] != "old" {
		t.Errorf("its builds are known as %v", got)
	}
}

// What is attached to an image tells of the release, not of the machines.
func TestAttached(t *testing.T) {
	t.Parallel()
	r := &Record{
		Schema: Schema, ID: "20260102T030405Z-abcdef", Kind: Release, Started: time.Now(), Updated: time.Now(), Plan: "plan", Commit: "c0ffee", Dirty: true,
		Before: Tags{"r/app:1": "sha256:before"}, Stuck: []Move{move("9", "", "s")},
		Smoke:  json.RawMessage(`{"devices":[{"facts":{"hostKey":"SHA256:abc","kernel":"Linux 5.10"}}],"results":[{"log":"/home/alice/x.log","tail":"hunter2"}]}`),
		Proofs: []Proof{{Target: "app", Platform: "linux/arm64", Device: "door", Verdict: "passed"}},
		Moves:  []Move{{Target: "app", Tag: "r/app:1", Digest: "sha256:" + "ab"}},
		Targets: []*Target{{Name: "app", Children: []*Child{{Platform: "linux/arm64", Repository: "r/app", Worker: "rack", Seconds: 1.5, Cached: 3, Inputs: "fingerprint", Reused: true}},
			Earlier: []*Child{{Platform: "linux/arm64", Worker: "attic"}}}},
	}
	data, err := r.Attached()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "/home/alice", "SHA256:abc", "Linux 5.10", "started", "updated", "1.5", "fingerprint", "attic", "sha256:before", "\"step\"", "stuck"} {
		if strings.Contains(string(data), secret) {
			t.Errorf("it tells %q:\n%s", secret, data)
		}
	}
	for _, wanted := range []string{"c0ffee", `"dirty": true`, "door", "passed", "rack", "r/app:1"} {
		if !strings.Contains(string(data), wanted) {
			t.Errorf("it does not tell %q", wanted)
		}
	}
	r.Updated = r.Updated.Add(time.Hour)
	r.Targets[0].Children[0].Seconds = 99
	if again, _ := r.Attached(); string(again) != string(data) {
		t.Error("a second run attaches something else")
	}
}

// Whoever may push can attach a record: it counts for nothing outside the
// repositories that are ours.
func TestParseAttached(t *testing.T) {
	t.Parallel()
	ours := func(repo string) bool { return repo == "r/app" }
	d := "sha256:" + strings.Repeat("ab", 32)
	head := `{"schema":2,"id":"20260102T030405Z-abcdef","kind":"release","step":"promoting","moves":[`
	tests := []struct{ name, text, says string }{
		{"ours", head + `{"tag":"r/app:1","digest":"` + d + `"}]}`, ""},
		{"another repository", head + `{"tag":"other/app:1","digest":"` + d + `"}]}`, "no repository of targets.hcl"},
		{"no tag", head + `{"tag":"nonsense","digest":"` + d + `"}]}`, "no repository"},
		{"no digest", head + `{"tag":"r/app:1","digest":"latest"}]}`, "has no digest"},
		{"newer", `{"schema":99,"id":"20260102T030405Z-abcdef"}`, "a newer one wrote it"},
		{"of schema 1", `{"schema":1,"kind":"release"}`, "does not name its release"},
		{"a path for a name", `{"schema":2,"id":"../../x"}`, "does not name its release"},
		{"not JSON", `<html>`, "invalid character"},
	}
	for _, tt := range tests {
		r, err := ParseAttached([]byte(tt.text), ours)
		switch {
		case tt.says == "" && (err != nil || !r.Closed() || !r.Remote()):
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.says)
		}
	}
}
