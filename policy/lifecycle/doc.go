// Package lifecycle is for who writes policies: what a set has to pass before it is
// put in force, and what it would change.
//
// [Publish] loads a set, runs the *.policytest.yaml beside it ([RunTests]) and, where
// the config asks for it, wants every policy shown ([CoverageOf]). [Simulate] decides
// recorded calls again by another set. None of it puts anything in force: that is
// Guard.Swap.
//
// All functions are pure but for the files they read.
package lifecycle
