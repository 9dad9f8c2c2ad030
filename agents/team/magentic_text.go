package team

import "strings"

// What an orchestrator asks its model, and what it tells participants. {task} is
// the task, {team} who takes part, {names} their names, {facts} and {plan} what the
// model wrote.
const (
	factsText = `A team shall work on this request:

{task}

List what is known before it begins, under these headings and with nothing else:

1. GIVEN: facts that the request itself states.
2. TO LOOK UP: facts that must be found, and where they may be found.
3. TO WORK OUT: facts that must be calculated or concluded.
4. GUESSES: what you remember or assume.
`
	planText = `The team:

{team}

Write a short plan for the request: what is to be done, in which order and by whom. Only who is needed has to take part.
`
	briefingText = `We work on this request:

{task}

The team:

{team}

What is known:

{facts}

The plan:

{plan}
`
	ledgerText = `The request:

{task}

The team:

{team}

How far has the team come? Answer with one JSON object and nothing else. It has these five keys, each with an object that holds a text "reason" and an "answer":

is_request_satisfied: true if nothing is left to be done for the request, else false
is_in_loop: true if the same is said or done again and again, else false
is_progress_being_made: true if the last steps brought the team closer to the end, else false
next_speaker: the name of who shall speak next, one of: {names}
instruction_or_question: what you say to them, with all that they need to know
`
	newFactsText = `The team does not get on with this request:

{task}

What was known until now:

{facts}

Write that list again with what was learned since. Correct what was wrong, move what is certain now to the facts, and add at least one new guess.
`
	replanText = `Say in one sentence what went wrong. Then write a new plan for the request that avoids it. The team:

{team}
`
	finalText = `The work on this request is over:

{task}

Write the answer for the person who asked, from what was found. Say what is missing.
`
)

// fill puts what is known into a text, each as it is.
func (s *course) fill(text, facts string) string {
	return strings.NewReplacer(
		"{task}", s.task, "{team}", s.magentic.roles, "{names}", strings.Join(s.magentic.names, ", "),
		"{facts}", facts, "{plan}", s.plan,
	).Replace(text)
}
