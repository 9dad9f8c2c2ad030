package main

import (
	"cmp"
	"errors"
	"os"
	"runtime/pprof"
	"time"
)

// profile profiles the measured process: BEHALF_BENCH_PROFILE names the file of
// the CPU profile, BEHALF_BENCH_ALLOCS that of all allocations since the start.
// Both are complete after BEHALF_BENCH_FOR, or 15 seconds.
func profile() error {
	d, err := time.ParseDuration(cmp.Or(os.Getenv("BEHALF_BENCH_FOR"), "15s"))
	if err != nil {
		return err
	}
	return errors.Join(profileCPU(os.Getenv("BEHALF_BENCH_PROFILE"), d), profileAllocs(os.Getenv("BEHALF_BENCH_ALLOCS"), d))
}

func profileCPU(file string, d time.Duration) error {
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

func profileAllocs(file string, d time.Duration) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	time.AfterFunc(d, func() {
		_ = pprof.Lookup("allocs").WriteTo(f, 0)
		_ = f.Close()
	})
	return nil
}
