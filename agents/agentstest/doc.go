// Package agentstest has what tests of agents need: a scripted model, a scripted
// toolbox, a consumer that commits, and a text form of events.
//
// It is not for production. The toolbox imitates the order of events of the real
// gate and none of its checks but scopes.
//
// The main types, in order: [Script] answers as a [agents.Model], [Toolbox]
// performs calls as a [agents.Toolbox], [Start] opens a run, [Run] ranges over an
// agent and commits, [Format] renders events.
//
// Script and Toolbox may be used by many goroutines.
package agentstest
