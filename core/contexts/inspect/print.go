package inspect

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// PrintOptions say what of a tree to print.
type PrintOptions struct {
	// Hashes and Times add a line to each entity.
	Hashes, Times bool
	// Tombstones lists deleted entities.
	Tombstones bool
}

// maxShown is how much of a value is printed, in characters.
const maxShown = 200

// Print writes the tree as text, one line for each entity.
func (t *Tree) Print(w io.Writer, opts PrintOptions) error {
	p := printer{w: bufio.NewWriter(w), opts: opts}
	p.line("context     %s", t.Context)
	p.line("application %s", t.Application)
	p.line("root hash   %s", t.RootHash)
	for _, h := range t.Heads {
		p.line("head        %s", h)
	}
	if t.Root == nil {
		p.line("\nno state")
	} else {
		p.line("")
		p.entity(t.Root, 0)
	}
	p.section("not in the tree", t.Detached)
	if opts.Tombstones {
		p.section("deleted", t.Tombstones)
	} else if len(t.Tombstones) > 0 {
		p.line("\n%d deleted entities", len(t.Tombstones))
	}
	if len(t.Raw) > 0 {
		p.line("\nrows of the application's own")
		for _, r := range t.Raw {
			p.line("  %s = %s", r.Key, shown(r.Value))
		}
	}
	return p.w.Flush()
}

type printer struct {
	w    *bufio.Writer
	opts PrintOptions
}

// line prints a line, after an empty one if the format begins with a newline. Names come from peers: control characters
// do not reach the terminal.
func (p *printer) line(format string, args ...any) {
	if rest, ok := strings.CutPrefix(format, "\n"); ok {
		format = rest
		p.w.WriteByte('\n') //nolint:errcheck // an error stays in the writer until Flush
	}
	p.w.WriteString(strings.Map(func(r rune) rune { //nolint:errcheck // as above
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, fmt.Sprintf(format, args...)))
	p.w.WriteByte('\n') //nolint:errcheck // as above
}

func (p *printer) section(title string, list []*Entity) {
	if len(list) == 0 {
		return
	}
	p.line("\n%s", title)
	for _, e := range list {
		p.entity(e, 1)
	}
}

func (p *printer) entity(e *Entity, depth int) {
	indent := strings.Repeat("  ", depth)
	name := e.Name
	if name == "" {
		name = short(e.ID)
	}
	line := indent + name
	if e.Kind != "entry" && e.Kind != name {
		line += " " + e.Kind
	}
	if e.Type != "" {
		line += " " + e.Type
	}
	switch {
	case e.Value != nil:
		line += " = " + shown(e.Value)
	case e.Undecoded != nil:
		line += " = " + shown(e.Undecoded)
	}
	if e.Storage != "public" && e.Storage != "" {
		line += " (" + e.Storage + ")"
	}
	if e.Registers > 1 {
		line += fmt.Sprintf(" (%d values)", e.Registers)
	}
	if e.Problem != "" {
		line += " !! " + e.Problem
	}
	p.line("%s", line)
	if p.opts.Hashes {
		p.line("%s    id %s", indent, e.ID)
		p.line("%s    own %s full %s", indent, e.OwnHash, e.FullHash)
	}
	if p.opts.Times {
		p.line("%s    created %s updated %s", indent, moment(e.Created), moment(e.Updated))
		if e.Deleted != nil {
			p.line("%s    deleted %s", indent, moment(*e.Deleted))
		}
	}
	for _, c := range e.Children {
		p.entity(c, depth+1)
	}
}

func shown(v any) string {
	s := []rune(text(v))
	if len(s) > maxShown {
		return string(s[:maxShown]) + fmt.Sprintf("… (%d characters)", len(s))
	}
	return string(s)
}

// whole is a value with all that belongs to it, such as the time of its write.
func whole(v any) string {
	out, err := marshal(v)
	if err != nil {
		return shown(v)
	}
	return string(out)
}

// Print writes the findings, or that there are none.
func (r *Report) Print(w io.Writer) error {
	p := printer{w: bufio.NewWriter(w)}
	for _, f := range r.Findings {
		p.line("%s", f)
	}
	p.line("context %s: %d entities in %d rows, root hash %s: %d findings", r.Context, r.Entities, r.Rows, r.Computed, len(r.Findings))
	return p.w.Flush()
}

// Print writes the differences; those of metadata and raw rows only with all.
func (d *Diff) Print(w io.Writer, all bool) error {
	p := printer{w: bufio.NewWriter(w)}
	hidden := 0
	for _, x := range d.Differences {
		if !all && (x.Kind == Metadata || x.Kind == Raw) {
			hidden++
			continue
		}
		name := x.Name
		if name == "" {
			name = x.ID.String()
		}
		switch x.Kind {
		case Added:
			p.line("+ %s = %s", name, shown(x.Second))
		case Removed:
			p.line("- %s = %s", name, shown(x.First))
		default:
			first, second := shown(x.First), shown(x.Second)
			if first == second { // written by another, or at another time
				first, second = whole(x.First), whole(x.Second)
			}
			p.line("%s %s: %s | %s", map[string]string{Changed: "~", Hash: "#", Metadata: "m", Raw: "r"}[x.Kind], name, first, second)
		}
	}
	same := "equal"
	if !d.Equal() {
		same = "different"
	}
	p.line("%s and %s: %s; root hashes %s, %s", d.Contexts[0], d.Contexts[1], same, d.Roots[0], d.Roots[1])
	if hidden > 0 {
		p.line("%d differences that no hash covers are not shown", hidden)
	}
	return p.w.Flush()
}
