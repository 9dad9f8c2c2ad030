// Package teams is the example of group chats: a swarm that answers customers, a
// graph in which a writer and a critic go round until the critic is content, a
// magentic team that works by a plan, and a person who must approve an offer.
//
// It is configuration and no code: Files holds behalf.yaml, the rules of the
// offline model, the policies with their tests, and the people. Its tools are
// those of package supportdesk, under the same name.
//
//	behalf serve -c examples/teams/behalf.yaml
//	behalf chat desk
package teams

import "embed"

// Files holds the example's config, rules, people and policies.
//
//go:embed behalf.yaml teams.yaml people.yaml policies
var Files embed.FS
