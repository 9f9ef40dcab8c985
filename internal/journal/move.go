package journal

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// Move is one tag on its way from one digest to another.
type Move struct {
	// Target is the target the tag is of.
	Target string `json:"target"`
	// Tag is the full reference.
	Tag string `json:"tag"`
	// Platform is set for the tag of one architecture.
	Platform string `json:"platform,omitempty"`
	// Digest is what the tag shall point to; "" if it shall not exist.
	Digest digest.Digest `json:"digest"`
	// Previous is what the tag pointed to before; "" if it did not exist.
	Previous digest.Digest `json:"previous,omitempty"`
}

// LastRank is the rank of tags of indexes that go away.
const LastRank = 4

// Rank orders moves, from 0 to LastRank: what people pull by default goes last,
// but for what goes away. Of that the indexes go last, as the records are
// attached to them: while any other tag is there, one leads to its record.
func (m Move) Rank() int {
	tag := m.Tag[strings.LastIndex(m.Tag, ":")+1:]
	switch {
	case m.Digest == "" && m.Platform == "":
		return LastRank
	case m.Digest == "":
		return LastRank - 1
	case m.Platform != "":
		return 0
	case tag == "latest" || strings.HasPrefix(tag, "latest-") || strings.HasSuffix(tag, "-latest"):
		return 2
	}
	return 1
}

// Repository is the tag's repository.
func (m Move) Repository() string { return m.Tag[:strings.LastIndex(m.Tag, ":")] }
