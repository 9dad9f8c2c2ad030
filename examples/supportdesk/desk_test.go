package supportdesk_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/supportdesk"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/lifecycle"
	"github.com/behalf-dev/behalf/tools"
)

func TestTheConfigLoads(t *testing.T) {
	if _, err := config.Load("behalf.yaml", os.LookupEnv); err != nil {
		t.Fatal(err)
	}
}

func TestThePoliciesPassTheirTestsAndAllAreCovered(t *testing.T) {
	set := policies(t)
	files, err := fs.Sub(supportdesk.Files, "policies")
	if err != nil {
		t.Fatal(err)
	}

	results, err := lifecycle.RunTests(set, files)
	if err != nil {
		t.Fatal(err)
	}

	for _, r := range results {
		for _, f := range r.Failures {
			t.Errorf("%s (%s): %s", r.Case.Name, r.At, f)
		}
	}
	if c := lifecycle.CoverageOf(set, results); len(c.Undetermined)+len(c.Unpaired) > 0 {
		t.Errorf("not covered: %+v", c)
	}
}

func TestAnOrderIsRefundedOnce(t *testing.T) {
	desk, err := supportdesk.New()
	if err != nil {
		t.Fatal(err)
	}
	refund := find(t, desk, "refund_order")
	args := json.RawMessage(`{"order_id":"O-5002","amount_cents":1900,"reason":"broken"}`)

	if _, err := refund.Call(context.Background(), args); err != nil {
		t.Fatal(err)
	}

	if _, err := refund.Call(context.Background(), args); err == nil {
		t.Error("the same order was refunded twice")
	}
}

func policies(t *testing.T) *policy.Set {
	t.Helper()
	cfg, err := config.Load("behalf.yaml", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	set, err := behalf.Policies(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func find(t *testing.T, d *supportdesk.Desk, name string) tools.Tool {
	t.Helper()
	for _, tool := range d.Tools() {
		if tool.Name == name {
			return tool
		}
	}
	t.Fatalf("the desk has no tool %s", name)
	return tools.Tool{}
}
