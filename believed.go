package behalf

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"

	"github.com/behalf-dev/behalf/tools"
)

// demands are what backends' tools asked when they were last in force, by toolset and
// name, whether they are there now or not: one that was away for a release is not
// believed more than one that stayed. Whoever has the turn of reloads may use them.
type demands map[string]map[string]tools.Descriptor

// mostDemands bounds the names that one toolset is remembered by. No source has as many
// tools at once.
const mostDemands = 4096

// keep notes what a snapshot asks that is put in force. What an operator wrote anew of a
// toolset is the operator's word on it.
func (d demands) keep(was, now *snapshot) {
	maps.DeleteFunc(d, func(set string, _ map[string]tools.Descriptor) bool {
		return !reflect.DeepEqual(was.cfg.Tools[set], now.cfg.Tools[set])
	})
	for set := range now.sources {
		if d[set] == nil || d.full(set, now.brought[set]) { // only an operator lets it be full, see weaker
			d[set] = map[string]tools.Descriptor{}
		}
		for _, t := range now.brought[set] {
			d[set][t.Name] = t.Demands()
		}
	}
}

// full reports whether a toolset would be remembered by too many names.
func (d demands) full(set string, list []tools.Tool) bool {
	fresh := 0
	for _, t := range list {
		if _, known := d[set][t.Name]; !known {
			fresh++
		}
	}
	return fresh > 0 && len(d[set])+fresh > mostDemands
}

// weaker says which of a toolset's tools asks less than it did, and what; empty: none.
func (d demands) weaker(set string, list []tools.Tool) (tool, why string) {
	for _, t := range list {
		if was, ok := d[set][t.Name]; ok {
			if why := t.Weaker(&was); why != "" {
				return t.Name, why
			}
		}
	}
	if d.full(set, list) {
		return "", fmt.Sprintf("it has had more than %d names of tools, and nobody can tell any more what they asked", mostDemands)
	}
	return "", ""
}

// refuseWeaker leaves a backend's tools as they were if it asks less of who calls one
// of them than it ever did: that is an operator's to take.
func (sn *snapshot) refuseWeaker(ctx context.Context) (refused bool) {
	for _, set := range slices.Sorted(maps.Keys(sn.sources)) {
		if _, frozen := sn.frozen[set]; frozen {
			continue
		}
		tool, why := sn.demands.weaker(set, sn.brought[set])
		if why == "" {
			delete(sn.toldWeaker, set)
			continue
		}
		refused = true
		sn.freeze(set)
		if sn.toldWeaker[set] == tool+why {
			continue
		}
		sn.toldWeaker[set] = tool + why
		sn.opt.log.ErrorContext(ctx, "a backend asks less of the callers of its tool than before, and is not believed by itself: its tools stay what they were, and calls of what changed fail; if that is meant run `behalf reload`",
			slog.String("toolset", set), slog.String("tool", tool), slog.String("why", why))
	}
	return refused
}

// freeze has a toolset bring what it brings in the snapshot in force, which may be
// nothing yet.
func (sn *snapshot) freeze(set string) {
	if sn.frozen == nil {
		sn.frozen = map[string][]tools.Tool{}
	}
	sn.frozen[set] = sn.current().brought[set]
}

// readOrFreeze reads a config whatever backends say: one that has other tools than
// before, which do not fit, must neither keep a new policy from being in force nor the
// tools of another backend from being taken. Its tools are then those from before, and
// calls of what changed fail.
func (sn *snapshot) readOrFreeze(ctx context.Context) error {
	err := sn.read()
	if err == nil {
		sn.tellUnfit(ctx, nil)
		return nil
	}
	changed := sn.changed()
	for _, set := range changed {
		sn.freeze(set)
	}
	if len(changed) == 0 {
		return err
	}
	if err := sn.read(); err != nil {
		return err // what backends are to blame for is nothing that the operator can mend
	}
	return sn.thaw(ctx, changed)
}

// changed are the sources that go on and do not bring what they do in the snapshot in
// force, or could not, sorted.
func (sn *snapshot) changed() (sets []string) {
	now := sn.current()
	for _, set := range slices.Sorted(maps.Keys(sn.sources)) {
		_, frozen := sn.frozen[set]
		if !frozen && now.sources[set] == sn.sources[set] && (sn.unfit[set] || !same(sn.brought[set], now.brought[set])) {
			sets = append(sets, set)
		}
	}
	return sets
}

func same(is, was []tools.Tool) bool {
	return (is == nil) == (was == nil) && slices.EqualFunc(is, was, func(a, b tools.Tool) bool { return a.Hash() == b.Hash() && a.Revision == b.Revision })
}

// thaw takes what fits of the toolsets that are all frozen, one after the other. A
// backend that changes meanwhile has them all frozen again.
func (sn *snapshot) thaw(ctx context.Context, sets []string) error {
	unfit := map[string]string{}
	for _, set := range sets {
		delete(sn.frozen, set)
		if err := sn.read(); err != nil {
			sn.freeze(set)
			unfit[set] = err.Error()
		}
	}
	sn.tellUnfit(ctx, unfit)
	err := sn.read()
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, set := range sets {
		sn.freeze(set)
	}
	return sn.read()
}

// tellUnfit tells the operator of toolsets whose tools cannot be taken, once of each
// reason. Of one that is frozen for another reason nothing new is known.
func (sn *snapshot) tellUnfit(ctx context.Context, unfit map[string]string) {
	told := map[string]string{}
	for set := range sn.frozen {
		if why := sn.toldUnfit[set]; why != "" {
			told[set] = why
		}
	}
	for _, set := range slices.Sorted(maps.Keys(unfit)) {
		told[set] = unfit[set]
		if why := unfit[set]; why != sn.toldUnfit[set] {
			sn.opt.log.ErrorContext(ctx, "a backend has other tools than before, and they cannot be taken: those from before stay, and calls of what changed fail; all else is taken; mend what is named and run `behalf reload`",
				slog.String("toolset", set), slog.String("problems", why))
		}
	}
	sn.toldUnfit = told
}
