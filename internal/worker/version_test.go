package worker

import "testing"

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"v0.13.0": false, "v0.13.1": false, "v0.13.2-rc1": false, "v0.13.2": true, "v0.14.0": true, "v0.34.2": true, "v0.13.0-rc1": false, "v0.12.5": false, "v0.11.6+ds": false,
		"v0.0.0+unknown": true, "0.13.2": true, "0.13.1": false, "0.12.5": false, "0.0.0+unknown": true, "": true, "master": true,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%s: %v", version, err)
		}
	}
}
