package converge

import (
	"encoding/json"
	"fmt"
	"slices"
)

// collections has a field of every kind.
type collections struct {
	common
	visits, stock int
	by            map[string]int // visits of each member
	title         register
	lines         map[string]*line // by every text they ever had
	tags          registers
	scores        map[string]*counted
	rows          map[string]*tableRow
	runes         map[rune]*Delta
	deleted       map[rune]bool
	next          rune
}

// line is an element of the vector.
type line struct {
	register
	pushed *Delta
}

// tableRow is a map inside a map.
type tableRow struct {
	nested
	removed bool
	cells   registers
}

func newCollections() *collections {
	return &collections{
		by: map[string]int{}, lines: map[string]*line{}, tags: registers{}, scores: map[string]*counted{},
		rows: map[string]*tableRow{}, runes: map[rune]*Delta{}, deleted: map[rune]bool{}, next: 'ἀ',
	}
}

func (c *collections) step(h *history, n *node) {
	switch h.rng.IntN(18) {
	case 0:
		c.visited(n, h.do(n, "visit").Delta)
	case 1:
		by := pick(h, -2, -1, 1, 2)
		if h.do(n, "change_stock", "by", by).Delta != nil {
			c.stock += by
		}
	case 2, 3:
		title := c.word()
		c.title.set(h.do(n, "set_title", "title", title).Delta, title)
	case 4, 5:
		text := c.word()
		c.pushed(h.do(n, "push_line", "line", text).Delta, text)
	case 6:
		a := h.do(n, "pop_line")
		if old, found := unquote(h, a.Output); found {
			c.line(h, old).remove(a.Delta)
		}
	case 7, 8:
		text := c.word()
		a := h.do(n, "set_line", "index", h.rng.IntN(4), "line", text)
		if old, found := unquote(h, a.Output); found {
			l := c.line(h, old)
			l.set(a.Delta, text)
			c.lines[text] = l
		}
	case 9:
		if !h.chance(30) {
			return
		}
		var all []string
		h.query(n, &all, "lines")
		a := h.do(n, "clear_lines")
		for _, text := range all {
			c.line(h, text).remove(a.Delta)
		}
	case 10, 11:
		tag := key(h)
		c.tags.at(tag).set(h.do(n, "add_tag", "tag", tag).Delta, tag)
		var has bool
		h.query(n, &has, "has_tag", "tag", tag)
		if h.err == nil && !has {
			h.failf("node %d: tag %q was added and is not there", n.number, tag)
		}
	case 12:
		tag := key(h)
		a := h.do(n, "remove_tag", "tag", tag)
		if string(a.Output) == "true" {
			c.tags.at(tag).remove(a.Delta)
		}
		if h.chance(20) {
			var all []string
			h.query(n, &all, "tags")
			a := h.do(n, "clear_tags")
			for _, tag := range all {
				c.tags.at(tag).remove(a.Delta)
			}
		}
	case 13:
		player := key(h)
		c.scored(h.do(n, "score", "player", player).Delta, player)
	case 14:
		row, column, value := key(h), key(h), c.word()
		c.cell(h.do(n, "set_cell", "row", row, "column", column, "value", value).Delta, row, column, value)
	case 15:
		c.removeCell(h, n)
	case 16:
		c.editText(h, n)
	case 17:
		c.changeAll(h, n)
	}
}

func (c *collections) visited(n *node, d *Delta) {
	if d != nil {
		c.visits++
		c.by[n.key.Public().String()]++
	}
}

func (c *collections) pushed(d *Delta, text string) {
	if d != nil {
		l := &line{pushed: d}
		l.set(d, text)
		c.lines[text] = l
	}
}

// line is the element that has, or had, a text.
func (c *collections) line(h *history, text string) *line {
	if l := c.lines[text]; l != nil {
		return l
	}
	h.failf("line %q was never written", text)
	return &line{}
}

func (c *collections) scored(d *Delta, player string) {
	s := c.scores[player]
	if s == nil {
		s = &counted{}
		c.scores[player] = s
	}
	if s.use(d) {
		s.n++
	}
}

// use notes a delta that makes the thing if it does not know it yet.
func (n *nested) use(d *Delta) bool {
	if d == nil {
		return false
	}
	if !slices.ContainsFunc(n.uses, func(u *Delta) bool { return d.after[u.number] }) {
		n.made = append(n.made, d)
	}
	n.uses = append(n.uses, d)
	return true
}

func (c *collections) row(name string) *tableRow {
	r := c.rows[name]
	if r == nil {
		r = &tableRow{cells: registers{}}
		c.rows[name] = r
	}
	return r
}

func (c *collections) cell(d *Delta, row, column, value string) {
	if r := c.row(row); r.use(d) {
		r.cells.at(column).set(d, value)
	}
}

func (c *collections) removeCell(h *history, n *node) {
	row, column := key(h), key(h)
	if h.chance(20) {
		if a := h.do(n, "remove_row", "row", row); string(a.Output) == "true" {
			c.row(row).removed = true
		}
		return
	}
	a := h.do(n, "remove_cell", "row", row, "column", column)
	if _, found := unquote(h, a.Output); found {
		r := c.row(row)
		r.use(a.Delta)
		r.cells.at(column).remove(a.Delta)
	}
}

// editText inserts characters that the text never had, or deletes some.
func (c *collections) editText(h *history, n *node) {
	before := c.text(h, n)
	if h.chance(30) && len(before) > 0 {
		from := h.rng.IntN(len(before))
		to := from + 1 + h.rng.IntN(3)
		a := h.do(n, "delete_text", "start", from, "end", to)
		to = min(to, len(before))
		if a.Delta != nil {
			for _, r := range before[from:to] {
				c.deleted[r] = true
			}
		}
		c.compareText(h, n, slices.Delete(slices.Clone(before), from, to))
		return
	}
	at := h.rng.IntN(len(before) + 1)
	var fresh []rune
	for range 1 + h.rng.IntN(3) {
		fresh = append(fresh, c.next)
		c.next++
	}
	a := h.do(n, "insert_text", "position", at, "text", string(fresh))
	if a.Delta != nil {
		for _, r := range fresh {
			c.runes[r] = a.Delta
		}
	}
	c.compareText(h, n, slices.Insert(slices.Clone(before), at, fresh...))
}

func (c *collections) text(h *history, n *node) []rune {
	var text string
	h.query(n, &text, "text")
	return []rune(text)
}

// compareText compares the characters. Their order is the SDK's own affair: an insertion may move others, because it does
// not read the text as a tree (crdt-storage.md §3.9).
func (c *collections) compareText(h *history, n *node, want []rune) {
	got := c.text(h, n)
	slices.Sort(got)
	slices.Sort(want)
	if h.err == nil && !slices.Equal(got, want) {
		h.failf("node %d: the text is %q after the edit, expected %q", n.number, string(got), string(want))
	}
}

func (c *collections) changeAll(h *history, n *node) {
	// The word is also appended to the text, so it is a character of its own.
	word := string(c.next)
	r := c.next
	c.next++
	d := h.do(n, "change_all", "word", word).Delta
	if d == nil {
		return
	}
	c.visited(n, d)
	c.stock++
	c.title.set(d, word)
	c.pushed(d, word)
	c.tags.at(word).set(d, word)
	c.scored(d, word)
	c.cell(d, word, "c", word)
	c.runes[r] = d
}

func (c *collections) lost(h *history) Call {
	return pick(h, view("visit"), view("set_title", "title", c.word()), view("push_line", "line", c.word()),
		view("score", "player", key(h)), view("change_all", "word", "lost"))
}

func (c *collections) views() []Call {
	out := []Call{
		view("visits"), view("stock"), view("title"), view("lines"), view("tags"), view("scores"), view("table"),
		view("text"), view("text_len"),
	}
	for _, member := range sortedKeys(c.by) {
		out = append(out, view("visits_of", "member", member))
	}
	return out
}

func (c *collections) verify(h *history, answers map[string]json.RawMessage) {
	if got := answer[int](h, answers, "visits"); got != c.visits {
		h.failf("%d visits, expected %d", got, c.visits)
	}
	for member, n := range c.by {
		if got := answer[int](h, answers, "visits_of", "member", member); got != n {
			h.failf("%d visits of %s, expected %d", got, member, n)
		}
	}
	if got := answer[int](h, answers, "stock"); got != c.stock {
		h.failf("stock %d, expected %d", got, c.stock)
	}
	if len(c.title.writes) == 0 {
		c.title.set(h.deltas[0], "")
	}
	h.check(c.title.check(answer[string](h, answers, "title"), true), "title")
	c.verifyLines(h, answer[[]string](h, answers, "lines"))
	tags := map[string]string{}
	for _, tag := range answer[[]string](h, answers, "tags") {
		tags[tag] = tag
	}
	c.tags.check(h, "tag", tags)
	scores := answer[map[string]int](h, answers, "scores")
	for player, s := range c.scores {
		if s.clean() && scores[player] != s.n {
			h.failf("score of %q is %d, expected %d", player, scores[player], s.n)
		}
	}
	table := answer[map[string]map[string]string](h, answers, "table")
	for name, r := range c.rows {
		if r.clean() && !r.removed {
			r.cells.check(h, fmt.Sprintf("row %q, column", name), table[name])
		}
	}
	c.verifyText(h, answer[string](h, answers, "text"))
}

func (c *collections) verifyLines(h *history, got []string) {
	at := map[*line]string{}
	var last *line
	for _, text := range got {
		l := c.lines[text]
		switch {
		case l == nil:
			h.failf("line %q was never written", text)
			return
		case at[l] != "":
			h.failf("lines %q and %q are the same element", at[l], text)
		case last != nil && last.pushed.from > l.pushed.to:
			h.failf("line %q stands behind %q and is older", text, at[last])
		}
		at[l], last = text, l
	}
	for text, l := range c.lines {
		value, found := at[l]
		h.check(l.check(value, found), "the line that was %q", text)
	}
}

func (c *collections) verifyText(h *history, text string) {
	found := map[rune]bool{}
	for _, r := range text {
		if found[r] || c.deleted[r] || c.runes[r] == nil {
			h.failf("text %q: %q is deleted, unknown, or there twice", text, r)
		}
		found[r] = true
	}
	for r, d := range c.runes {
		if !found[r] && !c.deleted[r] {
			h.failf("text %q: %q of delta %d is lost", text, r, d.number)
		}
	}
}
