package storage

import (
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxRangeKey is the longest Start or End of a range: one byte more than a key, so that "after this key" can be said of
// every key.
const MaxRangeKey = MaxKey + 1

// CheckColumn tells whether name may name a column.
func CheckColumn(name string) error {
	if name == "" {
		return errkind.Invalid.Errorf("column name is empty")
	}
	if len(name) > MaxColumn {
		return errkind.TooLarge.Errorf("column name %.80q… has %d bytes, limit MaxColumn = %d", name, len(name), MaxColumn)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return errkind.Invalid.Errorf("column name %q: letters, digits, '-' and '_' only", name)
		}
	}
	return nil
}

func checkKey(column string, key []byte) error {
	if err := CheckColumn(column); err != nil {
		return err
	}
	if len(key) == 0 {
		return errkind.Invalid.Errorf("empty key in column %s", column)
	}
	if len(key) > MaxKey {
		return errkind.TooLarge.Errorf("key in column %s has %d bytes, limit MaxKey = %d", column, len(key), MaxKey)
	}
	return nil
}

func checkBounds(column string, start, end []byte) error {
	if err := CheckColumn(column); err != nil {
		return err
	}
	if n := max(len(start), len(end)); n > MaxRangeKey {
		return errkind.TooLarge.Errorf("bound of a range in column %s has %d bytes, limit MaxRangeKey = %d", column, n,
			MaxRangeKey)
	}
	return nil
}

// CheckKeys tells whether keys are a right argument of Get. Plugins call it (and Range.Check, Batch.Check) first, so
// that all of them hold the same bounds with the same errors.
func CheckKeys(keys []Key) error {
	if len(keys) > MaxGetKeys {
		return errkind.TooLarge.Errorf("get of %d keys, limit MaxGetKeys = %d", len(keys), MaxGetKeys)
	}
	for i := range keys {
		if err := checkKey(keys[i].Column, keys[i].Key); err != nil {
			return err
		}
	}
	return nil
}

// Check tells whether r is within the bounds. A range that ends before it starts is right and empty.
func (r Range) Check() error {
	if err := checkBounds(r.Column, r.Start, r.End); err != nil {
		return err
	}
	if r.PageBytes < 0 {
		return errkind.Invalid.Errorf("page of %d bytes", r.PageBytes)
	}
	if r.PageBytes > MaxPageBytes {
		return errkind.TooLarge.Errorf("page of %d bytes, limit MaxPageBytes = %d", r.PageBytes, MaxPageBytes)
	}
	return nil
}

// Check tells whether b is within the bounds. A batch without operations is right: its ID is remembered.
func (b Batch) Check() error {
	if b.ID == (BatchID{}) {
		return errkind.Invalid.Errorf("batch id is all zero")
	}
	if len(b.Ops) > MaxBatchOps {
		return errkind.TooLarge.Errorf("batch of %d operations, limit MaxBatchOps = %d", len(b.Ops), MaxBatchOps)
	}
	size := 0
	for i := range b.Ops {
		op := &b.Ops[i]
		if err := op.check(); err != nil {
			return errkind.Of(err).Errorf("operation %d: %w", i, err)
		}
		size += len(op.Key) + len(op.Value) + len(op.End)
	}
	if size > MaxBatchBytes {
		return errkind.TooLarge.Errorf("batch of %d bytes, limit MaxBatchBytes = %d", size, MaxBatchBytes)
	}
	return nil
}

func (o *Op) check() error {
	switch o.Kind {
	case OpPut:
		if len(o.Value) > MaxValue {
			return errkind.TooLarge.Errorf("value in column %s has %d bytes, limit MaxValue = %d", o.Column, len(o.Value),
				MaxValue)
		}
		return checkKey(o.Column, o.Key)
	case OpDelete:
		return checkKey(o.Column, o.Key)
	case OpDeleteRange:
		// An empty prefix given by mistake must not empty the column. {0} says it on purpose: keys are never empty.
		if len(o.Key) == 0 && len(o.End) == 0 {
			return errkind.Invalid.Errorf("delete range without start and end in column %s (a start of one zero byte means all)",
				o.Column)
		}
		return checkBounds(o.Column, o.Key, o.End)
	}
	return errkind.Invalid.Errorf("unknown kind %d", o.Kind)
}
