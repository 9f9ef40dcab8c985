package release

import (
	"fmt"
	"strings"

	"github.com/archmage-build/archmage/docs"
)

// explainVerdict is what the documentation says of a verdict of the devices, by
// its name, with blanks or dashes.
func explainVerdict(name string) (string, bool) {
	name = strings.ReplaceAll(strings.ToLower(name), "-", " ")
	_, table, _ := strings.Cut(docs.Devices, "\n| verdict |")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) == 3 && strings.TrimSpace(cells[0]) == name {
			return fmt.Sprintf("%s\n\nA verdict of a device: %s.\nIt stops a release: %s.\n", name, strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])), true
		}
	}
	return "", false
}
