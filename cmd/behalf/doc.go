// Command behalf runs the service and is its client.
//
//	behalf demo                     see it work, offline, in seconds
//	behalf dev                      the same server, staying up
//	behalf serve -c behalf.yaml     production
//	behalf run AGENT TEXT           one run; behalf chat AGENT for many
//	behalf audit query|verify|export
//	behalf policy check|test
//
// One file holds one command (terminal.go, render.go, explain.go and problems.go
// are how all of them speak). Commands print for a person on a terminal, and
// JSON with --json. Exit codes: 0 done, 1 it failed, 2 the input is wrong (a
// config, a policy, a flag) and nothing was started.
package main
