package audit

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/archmage-build/archmage/docs"
)

// Explain returns what the documentation says of a check, in Markdown. An id
// that no check has is an error, which names the one most like it.
func Explain(id string) (string, error) {
	if checkIndex(id) < 0 {
		best, near := "", 0.6
		for _, c := range Checks {
			if s := levenshtein.Similarity(id, c.ID, nil); s > near {
				best, near = c.ID, s
			}
		}
		if best != "" {
			return "", fmt.Errorf("no check has the id %q; did you mean %q?", id, best)
		}
		ids := make([]string, len(Checks))
		for i, c := range Checks {
			ids[i] = c.ID
		}
		return "", fmt.Errorf("no check has the id %q; there are %s", id, strings.Join(ids, ", "))
	}
	_, page, _ := strings.Cut(docs.Audit, "\n### "+id+"\n")
	page, _, _ = strings.Cut(page, "\n### ")
	return id + "\n\n" + strings.TrimSpace(page) + "\n", nil
}
