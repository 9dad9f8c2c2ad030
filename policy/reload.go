package policy

import "fmt"

// Reload publishes a set and makes it decide, in one step: whoever asks after it has
// returned is answered by that revision or a later one. On an error the old
// engine stays.
func (g *Guard) Reload(c Config) (revision string, err error) {
	set, err := Publish(c)
	if err != nil {
		return g.Revision(), fmt.Errorf("reload policies: %w", err)
	}
	g.Swap(NewEngine(set))
	return set.Revision(), nil
}
