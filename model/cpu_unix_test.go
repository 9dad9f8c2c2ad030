//go:build unix

package model

import (
	"syscall"
	"testing"
	"time"
)

// reportCPU reports the processor time of the benchmark's loop, which other
// load on the machine moves less than wall time. Call it before the loop and
// run what it returns after.
func reportCPU(b *testing.B) func() {
	before := processTime(b)
	return func() { b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
