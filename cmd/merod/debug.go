package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/calimero-go/core/core/contexts/inspect"
	"github.com/calimero-go/core/core/node"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type debugCommand struct {
	State  debugStateCommand  `cmd:"" help:"Print the state of a context as a tree."`
	Export debugExportCommand `cmd:"" help:"Write the state of a context to a file."`
	Diff   debugDiffCommand   `cmd:"" help:"Compare two states; status 1 if they differ."`
	Verify debugVerifyCommand `cmd:"" help:"Compute every hash of a state anew; status 1 if one does not fit."`
}

const stateHelp = "Context id, or a file that debug export wrote."

// schemaFlag is in every command that decodes values.
type schemaFlag struct {
	Schema string `help:"ABI or state schema of the application (wasm-abi/1), for types that the state does not tell." placeholder:"FILE" type:"existingfile"`
}

// outputFlag chooses between text for people and JSON.
type outputFlag struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// errDiffers ends a command with status 1 after its output.
var errDiffers = errors.New("something does not fit")

// states loads the states of contexts of the node, or of files, and adds the schema.
func (f schemaFlag) states(ctx context.Context, c *cli, names ...string) ([]*inspect.State, error) {
	var schema *inspect.Schema
	if f.Schema != "" {
		raw, err := readLimited(f.Schema, inspect.MaxSchema)
		if err != nil {
			return nil, err
		}
		if schema, err = inspect.ParseSchema(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Schema, err)
		}
	}
	out := make([]*inspect.State, len(names))
	ids := map[int]domain.ContextID{}
	for i, name := range names {
		s, err := readExport(name)
		if errors.Is(err, fs.ErrNotExist) {
			if ids[i], err = domain.ParseContextID(name); err != nil {
				return nil, fmt.Errorf("%q is neither a file nor a context id: %w", name, err)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	if len(ids) > 0 {
		cfg, err := c.load()
		if err != nil {
			return nil, err
		}
		err = node.ReadStore(ctx, cfg, os.Stderr, func(ctx context.Context, db *store.DB) error {
			for i, id := range ids {
				var err error
				if out[i], err = inspect.Load(ctx, db, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if schema != nil {
		for _, s := range out {
			s.Schema = schema
		}
	}
	return out, nil
}

func readLimited(path string, limit int) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limit)+1))
}

func readExport(path string) (*inspect.State, error) {
	f, err := os.Open(path) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := inspect.ReadExport(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

type debugStateCommand struct {
	State string `arg:"" name:"context" help:"${state_help}"`
	schemaFlag
	outputFlag
	Hashes     bool `help:"Also print ids and hashes."`
	Times      bool `help:"Also print times of creation and change."`
	Tombstones bool `help:"Also print deleted entities."`
}

func (d debugStateCommand) Run(ctx context.Context, c *cli) error {
	s, err := d.states(ctx, c, d.State)
	if err != nil {
		return err
	}
	tree := s[0].Tree()
	if d.JSON {
		return printJSON(tree)
	}
	return tree.Print(os.Stdout, inspect.PrintOptions{Hashes: d.Hashes, Times: d.Times, Tombstones: d.Tombstones})
}

type debugExportCommand struct {
	State string `arg:"" name:"context" help:"Context id."`
	schemaFlag
	Output string `short:"o" help:"File to write; it must not exist. Standard output without it." placeholder:"FILE"`
}

func (d debugExportCommand) Run(ctx context.Context, c *cli) (err error) {
	s, err := d.states(ctx, c, d.State)
	if err != nil {
		return err
	}
	if d.Output == "" {
		return s[0].Export(os.Stdout)
	}
	f, err := os.OpenFile(d.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's own file
	if err != nil {
		return err
	}
	return errors.Join(s[0].Export(f), f.Close())
}

type debugDiffCommand struct {
	First  string `arg:"" help:"${state_help}"`
	Second string `arg:"" help:"${state_help}"`
	schemaFlag
	outputFlag
	All bool `help:"Also print what no hash covers: times, owners, rows of the application's own."`
}

func (d debugDiffCommand) Run(ctx context.Context, c *cli) error {
	s, err := d.states(ctx, c, d.First, d.Second)
	if err != nil {
		return err
	}
	diff := inspect.Compare(s[0], s[1])
	if d.JSON {
		err = printJSON(diff)
	} else {
		err = diff.Print(os.Stdout, d.All)
	}
	if err == nil && !diff.Equal() {
		err = errDiffers
	}
	return err
}

type debugVerifyCommand struct {
	State string `arg:"" name:"context" help:"${state_help}"`
	outputFlag
}

func (d debugVerifyCommand) Run(ctx context.Context, c *cli) error {
	s, err := schemaFlag{}.states(ctx, c, d.State)
	if err != nil {
		return err
	}
	report := s[0].Verify()
	if d.JSON {
		err = printJSON(report)
	} else {
		err = report.Print(os.Stdout)
	}
	if err == nil && len(report.Findings) > 0 {
		err = errDiffers
	}
	return err
}
