package index_test

import (
	"io"
	"log"
	"os"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

func TestMain(m *testing.M) { os.Exit(embeddedtest.Main(m)) }

// quiet takes what test servers log of the connections that tests break.
var quiet = log.New(io.Discard, "", 0)
