package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// limited reports whether a registry turned a request down because there were
// too many. Some say 403 and not 429, GitHub's among them for its "secondary"
// limits (https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api),
// with a code of its own, a header, or in words alone.
func limited(resp *http.Response) bool {
	if resp.StatusCode == http.StatusTooManyRequests {
		return true
	}
	if resp.StatusCode != http.StatusForbidden {
		return false
	}
	if resp.Header.Get("Retry-After") != "" || resp.Header.Get("X-Ratelimit-Remaining") == "0" {
		return true
	}
	const most = 64 << 10
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most))
	resp.Body = rest{io.MultiReader(bytes.NewReader(raw), resp.Body), resp.Body}
	var body struct {
		Errors []transport.Diagnostic `json:"errors"`
	}
	if err != nil || json.Unmarshal(raw, &body) != nil {
		return false
	}
	return tooMany(body.Errors, resp.Request)
}

// rest is a body of which some was read already.
type rest struct {
	io.Reader
	io.Closer
}

// manyWords are what registries write that have no code for it. The name of the
// repository, which may hold anything, is taken out before.
var manyWords = regexp.MustCompile(`(?i)\b(rate[ -]?limit|too many requests|abuse detection)`)

func tooMany(said []transport.Diagnostic, req *http.Request) bool {
	for _, d := range said {
		text := d.Message
		if req != nil {
			for part := range strings.SplitSeq(strings.TrimPrefix(req.URL.Path, "/v2/"), "/") {
				if len(part) > 2 {
					text = strings.ReplaceAll(text, part, "")
				}
			}
		}
		if d.Code == transport.TooManyRequestsErrorCode || manyWords.MatchString(text) {
			return true
		}
	}
	return false
}

// limitedAnswer is limited, for an error of the library.
func limitedAnswer(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusTooManyRequests ||
		answer.StatusCode == http.StatusForbidden && tooMany(answer.Errors, answer.Request))
}
