package wire

import "github.com/calimero-go/core/plugin-sdk/borsh"

// Columns beside the reference's, which it does not know. Their rows go with the context they belong to.
const (
	ColumnContextLocal Column = "ContextLocal" // ContextKey → ContextLocal
)

// LocalColumns returns the columns that the reference does not have.
func LocalColumns() []Column { return []Column{ColumnContextLocal} }

// ContextLocal is what a node keeps of a context for itself.
type ContextLocal struct {
	// Seen is the latest time, in ns since 1970, that the context's state carries or that a guest was told: the clock of
	// its next execution does not run behind it.
	Seen uint64
	// Shadows: there may be shadow rows (docs/design/state-engine.md) among the context's rows.
	Shadows bool
}

// EncodeBorsh writes the row.
func (c ContextLocal) EncodeBorsh(e *borsh.Encoder) {
	e.U64(c.Seen)
	e.Bool(c.Shadows)
}

// DecodeBorsh reads the row.
func (c *ContextLocal) DecodeBorsh(d *borsh.Decoder) {
	c.Seen = d.U64("seen")
	c.Shadows = d.Bool("shadows")
}
