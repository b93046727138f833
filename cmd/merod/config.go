package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/calimero-go/core/core/config"
)

// configCommand checks, or sets values as the reference's `merod config KEY=VALUE` does.
type configCommand struct {
	Check checkCommand `cmd:"" help:"Check config.hcl and config.toml; start nothing."`
	Set   setCommand   `cmd:"" default:"withargs" help:"Set values of config.toml: a.b='text' c=1."`
}

type checkCommand struct{}

func (checkCommand) Run(c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	fmt.Printf("%s is right\n", cfg.Path)
	return nil
}

type setCommand struct {
	Assignments []string `arg:"" help:"KEY.PATH=VALUE with a TOML value."`
}

func (s *setCommand) Run(c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.NodeDir(), config.NodeFileName)
	f, diags := config.LoadNodeFile(path)
	if diags.HasErrors() {
		return &diagnosticsError{list: diags}
	}
	if f == nil {
		return errors.New("the node has no " + path + "; run merod init")
	}
	f, err = f.Set(s.Assignments...)
	if err != nil {
		return err
	}
	if err := f.Write(); err != nil {
		return err
	}
	fmt.Println("Node configuration has been updated")
	return nil
}
