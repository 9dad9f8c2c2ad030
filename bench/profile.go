package main

import (
	"os"
	"runtime/pprof"
	"time"
)

// profileFor writes a CPU profile of the measured process: BEHALF_BENCH_PROFILE
// names the file, which is complete after the given time.
func profileFor(d time.Duration) error {
	file := os.Getenv("BEHALF_BENCH_PROFILE")
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	time.AfterFunc(d, func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	})
	return pprof.StartCPUProfile(f)
}
