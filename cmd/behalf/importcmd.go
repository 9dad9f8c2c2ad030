package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/config/autogen"
	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/spf13/cobra"
)

// importFlags say where a team comes from and where it goes.
type importFlags struct {
	config, out string
	opt         autogen.Options
}

func importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use: "import FILE.json", Short: "Turn an AutoGen team into a fragment of a config file; needs no server", Args: cobra.ExactArgs(1),
		Long: "Turns AutoGen component JSON (0.4 to 0.7), or a component of a Studio gallery, into a fragment of behalf.yaml. Everything\n" +
			"that is not the same here is reported. Nothing in the file is run, and no key in it is copied.",
		Example: "  behalf import team.json -o team.yaml\n  behalf import gallery.json --label \"Travel Team\" --name travel -c behalf.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			return importTeam(c.OutOrStdout(), c.ErrOrStderr(), args[0], f)
		},
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "config file that the fragment is for: its tools are bound, and its names are left alone")
	c.Flags().StringVarP(&f.out, "output", "o", "", "new file for the result; else it is printed")
	c.Flags().StringVar(&f.opt.Name, "name", "", "name of the team or agent here")
	c.Flags().StringVar(&f.opt.Pick, "label", "", "of several in the file, the one with this label or name")
	return c
}

func importTeam(out, report io.Writer, file string, f importFlags) error {
	data, err := readBounded(file, autogen.MaxBytes)
	if err != nil {
		return wrongInput(err)
	}
	if f.config != "" {
		if err := f.look(); err != nil {
			return err
		}
	}
	r, err := autogen.Import(near(file), data, f.opt)
	if err != nil {
		return unusable(err)
	}
	tell(report, r.Notes)
	return give(out, f.out, r.YAML)
}

// unusable shows every problem on a line of its own. They quote a file that nobody
// trusts.
func unusable(err error) error {
	var all []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		all = append(all, clean(line))
	}
	return wrongInput(errors.New(strings.Join(all, "\n  ")))
}

// readBounded reads no more of a file than can be used.
func readBounded(file string, most int64) ([]byte, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	return io.ReadAll(io.LimitReader(in, most+1))
}

// look finds what there is in the file that the fragment is for.
func (f *importFlags) look() error {
	cfg, known, err := withTools(f.config)
	if err != nil {
		return err
	}
	for _, set := range slices.Sorted(maps.Keys(known)) {
		f.opt.Tools = append(f.opt.Tools, known[set]...)
	}
	for _, names := range [][]string{slices.Collect(maps.Keys(cfg.Agents)), slices.Collect(maps.Keys(cfg.GroupChats)), slices.Collect(maps.Keys(cfg.Models))} {
		f.opt.Taken = append(f.opt.Taken, names...)
	}
	return nil
}

// withTools is a config and the tools that each of its sections brings.
func withTools(file string) (*config.Config, map[string][]string, error) {
	cfg, options, err := load(file, nil)
	if err != nil {
		return nil, nil, err
	}
	known, _, err := behalf.Check(cfg, options...)
	return cfg, known, wrongInput(err)
}

func exportCommand() *cobra.Command {
	file, out := "", ""
	c := &cobra.Command{
		Use: "export TARGET", Short: "Write a group chat or an agent as AutoGen component JSON; needs no server", Args: cobra.ExactArgs(1),
		Long: "Writes a group chat or an agent of a config file, with everything in it, as AutoGen 0.7.5 component JSON. What AutoGen has\n" +
			"no word for, such as scopes, is reported. Keys are not written.",
		Example: "  behalf export desk -c examples/teams/behalf.yaml -o desk.json",
		RunE: func(c *cobra.Command, args []string) error {
			cfg, known, err := withTools(file)
			if err != nil {
				return err
			}
			if all := slices.Concat(slices.Collect(maps.Keys(cfg.Agents)), slices.Collect(maps.Keys(cfg.GroupChats))); !slices.Contains(all, args[0]) {
				return wrongInput(fmt.Errorf("%s has no agent or group chat %q%s", near(file), args[0], typo.DidYouMean(args[0], all)))
			}
			data, notes, err := autogen.Export(cfg, args[0], known)
			if err != nil {
				return unusable(err)
			}
			tell(c.ErrOrStderr(), notes)
			return give(c.OutOrStdout(), out, []byte(escaped(string(data))))
		},
	}
	configFlag(c, &file)
	c.Flags().StringVarP(&out, "output", "o", "", "new file for the result; else it is printed")
	return c
}

// tell prints the report. It quotes a file that nobody trusts.
func tell(out io.Writer, notes []autogen.Note) {
	for _, n := range notes {
		fmt.Fprintln(out, clean(n.String()))
	}
}

// give prints a result, or writes it to a file that is not there yet.
func give(out io.Writer, file string, data []byte) error {
	if file == "" {
		_, err := out.Write(data)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return wrongInput(err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
