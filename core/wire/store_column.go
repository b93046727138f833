package wire

// Column is a key space of the store.
type Column string

// Columns of the store, by the reference's names.
const (
	ColumnMeta         Column = "Meta"         // ContextKey → ContextMeta
	ColumnConfig       Column = "Config"       // ContextKey → ContextConfig
	ColumnIdentity     Column = "Identity"     // IdentityKey → ContextIdentity
	ColumnState        Column = "State"        // StateKey → raw bytes
	ColumnPrivateState Column = "PrivateState" // StateKey → raw bytes, never leaves the node
	ColumnDelta        Column = "Delta"        // DeltaKey → ContextDagDelta
	ColumnBlobs        Column = "Blobs"        // BlobKey → BlobMeta
	ColumnApplication  Column = "Application"  // ApplicationKey → ApplicationRecord
	ColumnAlias        Column = "Alias"        // ContextAliasKey and others → ID32
	ColumnGeneric      Column = "Generic"      // GenericKey → raw bytes, DeltaAuthorKey → DeltaAuthor
	ColumnGroup        Column = "Group"        // Group*Row.Key → the value named at the row
)

// Columns returns all columns in the reference's order.
func Columns() []Column {
	return []Column{
		ColumnMeta, ColumnConfig, ColumnIdentity, ColumnState, ColumnPrivateState, ColumnDelta, ColumnBlobs,
		ColumnApplication, ColumnAlias, ColumnGeneric, ColumnGroup,
	}
}
