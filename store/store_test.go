package store_test

import (
	"path/filepath"
	"testing"

	"github.com/behalf-dev/behalf/store/storetest"
)

func tempDSN(t *testing.T) string {
	return "sqlite://" + filepath.Join(t.TempDir(), "behalf.db")
}

func TestSQLitePassesTheSuite(t *testing.T) { storetest.Run(t, tempDSN) }
