// Package policytest is a small desk on which policies are tried: four tools, two
// agents, people and their calls. It is for the tests of package policy and of what
// is built on its engine, and for nothing else. All that it gives is new each time.
package policytest
