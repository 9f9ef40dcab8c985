package index_test

import (
	"os"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

func TestMain(m *testing.M) { os.Exit(embeddedtest.Main(m)) }
