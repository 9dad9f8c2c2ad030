package arguments

import cedar "github.com/cedar-policy/cedar-go"

// Scratch is where Cedar records are put together. Cedar copies the map that it
// makes a record of, so one map serves for many records; records inside of
// records have one per level. The zero value is empty. One goroutine.
type Scratch struct {
	maps  []cedar.RecordMap
	depth int // how many are open
}

// Open gives an empty map for the members of a record.
func (s *Scratch) Open() cedar.RecordMap {
	if s.depth == len(s.maps) {
		s.maps = append(s.maps, cedar.RecordMap{})
	}
	s.depth++
	return s.maps[s.depth-1]
}

// Close makes the record of the map that was opened last.
func (s *Scratch) Close() cedar.Record {
	rec := cedar.NewRecord(s.maps[s.depth-1])
	s.clear()
	return rec
}

// Forget empties what an error left open.
func (s *Scratch) Forget() {
	for s.depth > 0 {
		s.clear()
	}
}

// maxScratch is how many members a map may have had that is kept. A map never
// shrinks, and a copy of a large one costs its size, whatever is in it.
const maxScratch = 8

func (s *Scratch) clear() {
	s.depth--
	if len(s.maps[s.depth]) > maxScratch {
		s.maps[s.depth] = cedar.RecordMap{}
		return
	}
	clear(s.maps[s.depth])
}
