package store

import "context"

func (db *DB) Settle(ctx context.Context) error { return db.settle(ctx) }
