package audit

import "testing"

func TestNewer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"v8.1", "v8.0", true}, {"v8.0", "v8", false}, {"v8.2", "v9", false}, {"v9.0", "v8.0", true}, {"v9", "v9.2", false}, {"", "v8.0", false}, {"v8.6", "v9", true},
	} {
		if got := newer(tt.a, tt.b); got != tt.want {
			t.Errorf("%q is newer than %q: %t, want %t", tt.a, tt.b, got, tt.want)
		}
	}
}
