package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

// run is main with an exit code, so that everything deferred happens.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	c, err := newRoot().ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && cancelled(err) {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(os.Stderr, here(c, explain(err))+forWhom(c, err))
	if _, wrong := errors.AsType[*inputError](err); wrong {
		return 2
	}
	return 1
}

// inputError is what the user can mend: a file, a flag, a missing argument.
type inputError struct{ err error }

func (e *inputError) Error() string { return e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

func wrongInput(err error) error {
	if err == nil {
		return nil
	}
	return &inputError{err}
}

func newRoot() *cobra.Command {
	root := group("behalf", "Runs LLM agents on behalf of a verified person",
		demoCommand(), devCommand(), serveCommand(),
		runCommand(), chatCommand(), agentsCommand(), chatsCommand(), toolsCommand(), whoAmICommand(), sessionsCommand(), runsCommand(), approvalsCommand(), reloadCommand(),
		lockCommand(), unlockCommand(), locksCommand(), keysCommand(),
		auditCommand(), policyCommand(), tokenCommand(), configCommand(), importCommand(), exportCommand(), versionCommand(),
	)
	root.Long = "behalf runs LLM agents on behalf of a verified person. Every tool call is made, limited and recorded as that person's.\n\nStart with: " + self() + " demo"
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return misused(c, err) })
	explainArguments(root)
	return root
}

// group is a command that only has others below it. Alone it prints its help;
// with a word that it does not know it is an error.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, SuggestionsMinimumDistance: 2,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("there is no command %q", args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			text += fmt.Sprintf("; did you mean %s?", near[0])
		}
		return errors.New(text)
	}
	c.AddCommand(below...)
	return c
}

// explainArguments makes wrong arguments wrong input, with the right form.
func explainArguments(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return misused(c, wanted(c, args, err))
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		explainArguments(below)
	}
}

// wanted says which arguments a command takes, instead of how many.
func wanted(c *cobra.Command, args []string, err error) error {
	_, names, _ := strings.Cut(c.Use, " ")
	switch {
	case strings.HasPrefix(err.Error(), "accepts ") && names != "":
		return fmt.Errorf("it needs %s, and got %s", strings.Join(strings.Fields(names), " and "), count(int64(len(args)), "argument"))
	case strings.HasPrefix(err.Error(), "unknown command") && names == "" && len(args) > 0:
		return fmt.Errorf("it takes no argument such as %q", args[0])
	}
	return err
}

func misused(c *cobra.Command, err error) error {
	text := fmt.Sprintf("%s\n  usage:   %s", err, c.UseLine())
	if c.HasExample() {
		text += "\n  example: " + strings.ReplaceAll(trimmed(c.Example), "\n  ", "\n           ")
	}
	return wrongInput(fmt.Errorf("%s\n  more:    %s --help", text, c.CommandPath()))
}
