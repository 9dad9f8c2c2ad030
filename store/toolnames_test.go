package store_test

import (
	"maps"
	"testing"

	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// TestNamesOfToolsAreKeptAndReplaced as a whole.
func TestNamesOfToolsAreKeptAndReplaced(t *testing.T) {
	s := storetest.Start(t, store.Config{DSN: tempDSN(t)})
	for _, want := range []map[string]string{{}, {"get_customer": "crm", "refund_order": "crm"}, {"get_page": "wiki"}} {
		if len(want) > 0 {
			if err := s.PutToolNames(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.ToolNames(t.Context()); err != nil || !maps.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}
