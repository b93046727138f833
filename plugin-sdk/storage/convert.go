package storage

import (
	"github.com/calimero-go/core/plugin-sdk/errkind"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

func keysToProto(keys []Key) []*storagev1.Key {
	block := make([]storagev1.Key, len(keys))
	out := make([]*storagev1.Key, len(keys))
	for i, k := range keys {
		block[i].Column, block[i].Key = k.Column, k.Key
		out[i] = &block[i]
	}
	return out
}

func keysFromProto(ps []*storagev1.Key) []Key {
	out := make([]Key, len(ps))
	for i, p := range ps {
		out[i] = Key{Column: p.GetColumn(), Key: p.GetKey()}
	}
	return out
}

func opToProto(op Op) *storagev1.Op {
	p := &storagev1.Op{Column: op.Column}
	switch op.Kind {
	case OpPut:
		p.Op = &storagev1.Op_Put{Put: &storagev1.Put{Key: op.Key, Value: op.Value}}
	case OpDelete:
		p.Op = &storagev1.Op_Delete{Delete: &storagev1.Delete{Key: op.Key}}
	case OpDeleteRange:
		p.Op = &storagev1.Op_DeleteRange{DeleteRange: &storagev1.DeleteRange{Start: op.Key, End: op.End}}
	}
	return p
}

func opFromProto(p *storagev1.Op) (Op, error) {
	op := Op{Column: p.GetColumn()}
	switch x := p.GetOp().(type) {
	case *storagev1.Op_Put:
		op.Kind, op.Key, op.Value = OpPut, x.Put.GetKey(), x.Put.GetValue()
	case *storagev1.Op_Delete:
		op.Kind, op.Key = OpDelete, x.Delete.GetKey()
	case *storagev1.Op_DeleteRange:
		op.Kind, op.Key, op.End = OpDeleteRange, x.DeleteRange.GetStart(), x.DeleteRange.GetEnd()
	default:
		return Op{}, errkind.Unsupported.Errorf("batch has an operation that storage protocol %d does not know; the host "+
			"is newer than this plugin: update the plugin", Protocol)
	}
	return op, nil
}

// opSize is about what an operation takes in a message.
func opSize(op Op) int { return len(op.Column) + len(op.Key) + len(op.Value) + len(op.End) + 32 }

// filled keeps "empty and found" apart from "absent": protobuf gives nil for both.
func filled(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func rangeToProto(r Range, snapshot uint64) *storagev1.ScanRequest {
	return &storagev1.ScanRequest{Column: r.Column, Start: r.Start, End: r.End, Reverse: r.Reverse, Limit: r.Limit,
		PageBytes: uint32(r.PageBytes), KeysOnly: r.KeysOnly, Snapshot: snapshot}
}

func rangeFromProto(p *storagev1.ScanRequest) Range {
	return Range{Column: p.GetColumn(), Start: p.GetStart(), End: p.GetEnd(), Reverse: p.GetReverse(),
		Limit: p.GetLimit(), PageBytes: int(p.GetPageBytes()), KeysOnly: p.GetKeysOnly()}
}
