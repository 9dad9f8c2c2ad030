// Package agentstest has what tests of agents and teams need: a scripted model, a
// scripted toolbox, a consumer that commits, a text form of events, and dialogs.
//
// It is not for production. The toolbox imitates the order of events of the real
// gate and none of its checks but scopes.
//
// The main types, in order: [Script] answers as a [agents.Model], [Toolbox]
// performs calls as a [agents.Toolbox], [Start] opens a run, [Run] ranges over an
// agent and commits, [Format] renders events. [Dialogs] plays txtar files and holds
// their agents to the contract: what is written comes of them, from every prefix,
// and nothing is left when the consumer breaks.
//
// Script and Toolbox may be used by many goroutines.
package agentstest
