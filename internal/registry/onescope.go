package registry

import (
	"net/http"
	"slices"
	"strings"
)

// oneScope asks a token service that refuses a token for two repositories, which
// a mount from one to the other needs, for that of the repository written to. The
// registry then takes the blob as an upload.
type oneScope struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o oneScope) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet || strings.HasPrefix(req.URL.Path, "/v2/") {
		return resp, err
	}
	scopes := slices.Compact(slices.Clone(req.URL.Query()["scope"]))
	if len(scopes) < 2 || resp.StatusCode/100 != 4 {
		return resp, err
	}
	keep := max(0, slices.IndexFunc(scopes, func(s string) bool {
		return slices.Contains(strings.Split(s[strings.LastIndexByte(s, ':')+1:], ","), "push")
	}))
	one := req.Clone(req.Context())
	query := one.URL.Query()
	query["scope"] = scopes[keep : keep+1]
	one.URL.RawQuery = query.Encode()
	again, err := o.next.RoundTrip(one)
	if err != nil || again.StatusCode != http.StatusOK {
		if err == nil {
			drain(again)
		}
		return resp, nil // what was refused first
	}
	drain(resp)
	return again, nil
}
