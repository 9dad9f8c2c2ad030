package main

import (
	"regexp"
	"testing"

	"github.com/spf13/cobra"
)

// A text between backquotes in what a flag is for is shown as its type.
func TestTheTypeOfAFlagIsAWord(t *testing.T) {
	wordy := regexp.MustCompile(`(?m)^ *(-\w, +)?--\S+ \S+ \S.*$`)
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		for _, line := range wordy.FindAllString(c.Flags().FlagUsages(), -1) {
			t.Errorf("%s: %s", c.CommandPath(), line)
		}
		for _, below := range c.Commands() {
			look(below)
		}
	}
	look(newRoot())
}
