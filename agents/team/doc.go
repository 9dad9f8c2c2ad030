// Package team is what agents make together: desks at which they hand a
// conversation to each other, group chats, and agents inside or below another.
//
// It is not about what an agent says, which is package agents, and it asks no
// policy: a call of an agent that is a tool passes [Govern], which others implement.
// It adds no kind of event.
//
// The main types, in the order a reader needs them:
//
//   - [Member]: an agent with its ceiling
//   - [Desk]: agents that hand a conversation to each other, each under its own
//     narrowed grant; a single agent is a desk of one
//   - [Team]: a group chat, made by [NewRoundRobin], [NewSelector], [NewSwarm],
//     [NewGraph], [NewMagentic]
//   - [Condition]: when a team stops, a value; [Watch] asks one directly
//   - [Society], [Filter]: a team with one voice, and an agent that hears only some
//     of what is said, as participants
//   - [AsTools]: agents and teams as tools
//
// # The contract
//
// All of these are agents and keep the contract of package agents: lazy, resumed
// from any prefix, without state of their own. To it they add:
//
// Identity. Who lets an agent run makes its grant, with the agent added to the
// chain and its ceiling applied. A ceiling bounds the agent and everybody it hands
// on to, out of a nested team too. Nothing widens, also not a hand-off back.
//
// Threads. A participant of a team has one thread for all its turns, "/" and its
// name after the team's, so that it remembers what it did; its input is what the
// others said since. Each plan after the first, of a team that is led, gives its
// participants new threads that end in # and the plan's number: they remember
// nothing. What a participant says is lifted: copied into the team's thread with
// its message id and without its usage. A [Desk] has no threads: all its members
// share the one it runs in.
//
// An agent as a tool has the calling thread's, "/+" and the tool's name; calls of
// the same tool in one reply after the first have threads named by the call.
//
// A [Society] and a [Filter] let their guest run in a thread below their own, and
// invite it with a SpeakerSelected; that of a society's team ends in # and the
// number of the turn after the first.
//
// Choices. Who speaks next is stored as a SpeakerSelected before they speak, and
// read back from there. What a function outside decided (a selector's, an external
// stop's) is stored before it counts; the function of a condition or of a graph's
// edge is asked again. What an orchestrator found, planned and judged is a
// PlanUpdated before it acts on it; it speaks in messages of the team.
//
// Ends. The stream of a member that handed off itself ends with its HandedOff: its
// part is over, and the desk or team goes on with another. A participant that fails
// ends the team's run; an agent that is a tool and fails is a tool that fails.
//
// Concurrency. Participants of one wave run at the same time and are consumed on
// the goroutine that ranges over the team. Config structs are not changed after
// their constructor took them.
package team
