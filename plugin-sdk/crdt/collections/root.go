package collections

import (
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// RootHash returns the context's root hash; zero while there is no tree root.
func (w *Writer) RootHash() (domain.Hash, error) {
	e, err := w.entity(w.root())
	if err != nil {
		return domain.Hash{}, err
	}
	return e.index.FullHash, nil
}

// RootCreated returns when the document of the tree root was first written; zero when it was not.
func (w *Writer) RootCreated() (uint64, error) {
	e, err := w.entity(w.root())
	if err != nil {
		return 0, err
	}
	return e.index.Metadata.CreatedAt, nil
}

// SaveRoot writes the document of the tree root. One that is older than what is there changes nothing, as in the
// reference; a newer one replaces it (convergence.md §2.3), which the reference refuses.
func (w *Writer) SaveRoot(doc []byte, meta crdt.Metadata) error {
	e, err := w.entity(w.root())
	if err != nil {
		return err
	}
	switch {
	case !e.found:
		e.index.Metadata = meta
		w.touch(e)
	case e.index.Metadata.UpdatedAt > meta.UpdatedAt:
		return nil
	}
	return w.save(e, doc, meta)
}
