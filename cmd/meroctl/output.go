package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
)

// json prints a value as one line.
func (c *cli) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// say prints a sentence, in json as a string.
func (c *cli) say(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if c.Output == "json" {
		return c.json(text)
	}
	_, err := fmt.Fprintln(c.out, plain(text))
	return err
}

// plain takes out what would steer a terminal: texts come from nodes.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, text)
}

func (c *cli) table(head []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range rows {
		for i, cell := range r {
			r[i] = strings.ReplaceAll(plain(cell), "\n", " ")
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// show prints an answer: in json as the node gave it, else as a table that rows makes of its payload.
func show[T any](c *cli, answer json.RawMessage, head []string, rows func(T) [][]string) error {
	if c.Output == "json" {
		return c.json(answer)
	}
	payload, err := payloadOf[T](answer)
	if err != nil {
		return err
	}
	return c.table(head, rows(payload))
}

// showBare is show for answers that have no "data".
func showBare[T any](c *cli, answer json.RawMessage, head []string, rows func(T) [][]string) error {
	if c.Output == "json" {
		return c.json(answer)
	}
	var payload T
	if err := json.Unmarshal(answer, &payload); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return c.table(head, rows(payload))
}

// column makes a table of one column.
func column(texts []string) (rows [][]string) {
	for _, text := range texts {
		rows = append(rows, []string{text})
	}
	return rows
}

// payloadOf decodes what stands under "data".
func payloadOf[T any](answer json.RawMessage) (T, error) {
	var body struct {
		Data T `json:"data"`
	}
	if err := json.Unmarshal(answer, &body); err != nil {
		return body.Data, fmt.Errorf("read the node's answer: %w", err)
	}
	return body.Data, nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
