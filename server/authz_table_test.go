package server_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table lays the answers out. The codes are in the legend, because each reason
// has one; where that is not so the cell names both.
func table(callers []caller, rows []row) string {
	legend := map[string]string{} // reason → code
	for _, r := range rows {
		for _, c := range r.cells {
			if code, why, ok := strings.Cut(c, " "); ok && why != "" && legend[why] == "" {
				legend[why] = code
			}
		}
	}
	grid := [][]string{{"METHOD"}}
	for _, c := range callers {
		grid[0] = append(grid[0], c.name)
	}
	for _, r := range rows {
		line := []string{r.name}
		for _, c := range r.cells {
			if code, why, _ := strings.Cut(c, " "); why != "" && legend[why] == code {
				c = why
			}
			line = append(line, strings.TrimSpace(c))
		}
		grid = append(grid, line)
	}
	var b strings.Builder
	b.WriteString("Who may call what. Written by `go test ./server -run TestWhoMayCallWhat -update`; review it like code.\n")
	b.WriteString("The run and the session named in the requests are alice's. A cell is `ok` or the reason of the refusal.\n\n")
	write(&b, grid)
	b.WriteString("\nREASONS\n")
	var lines [][]string
	for _, why := range slices.Sorted(maps.Keys(legend)) {
		lines = append(lines, []string{why, legend[why]})
	}
	write(&b, lines)
	return b.String()
}

func write(b *strings.Builder, grid [][]string) {
	width := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, cell := range line {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, line := range grid {
		var out strings.Builder
		for i, cell := range line {
			fmt.Fprintf(&out, "%-*s  ", width[i], cell)
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
	}
}
