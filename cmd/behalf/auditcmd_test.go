package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/audit"
)

func TestAReportSaysWhatRetentionRemoved(t *testing.T) {
	var out bytes.Buffer
	printReport(&out, audit.Report{Checkpoints: 3, Witnessed: 3, Tenants: []audit.TenantReport{
		{Tenant: "acme", Rows: 5, Head: audit.Head{Sequence: 25}, Signed: 25, Witnessed: 25, Removed: 20, RemovedAt: 1_800_000_000_000_000_000},
	}})

	want := "5 rows, unbroken; rows 1 to 20 were removed by retention, as a signed row of 2027-01-15T08:00:00Z says; signed and witnessed up to row 25"
	if !strings.Contains(out.String(), want) {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
