package typo

import (
	"strings"
	"testing"
)

func TestMeantFindsWhatWasMeant(t *testing.T) {
	tools := []string{"get_customer", "list_orders", "refund_order"}
	for word, want := range map[string]string{
		"get_custmer":            "get_customer",
		"refnud_order":           "refund_order",
		"list_order":             "list_orders",
		"charge":                 "",
		"":                       "",
		strings.Repeat("x", 100): "",
	} {
		if got := Meant(word, tools); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
