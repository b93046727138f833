package runtime

// Limits are those of guest-abi.md §3.1, in bytes or counts. Zero fields stand for the default.
type Limits struct {
	MaxStackSize         uint64
	MaxRegisters         uint64
	MaxRegisterSize      uint64
	MaxRegistersCapacity uint64
	MaxLogs              uint64
	MaxLogSize           uint64
	MaxEvents            uint64
	MaxEventKindSize     uint64
	MaxEventDataSize     uint64
	MaxXCalls            uint64
	MaxXCallFunctionSize uint64
	MaxXCallParamsSize   uint64
	MaxStorageKeySize    uint64
	MaxStorageValueSize  uint64
	MaxBlobHandles       uint64
	MaxBlobChunkSize     uint64
	MaxMethodNameLength  uint64
}

// DefaultLimits are the reference's.
func DefaultLimits() Limits {
	return Limits{
		MaxStackSize: 200 << 10, MaxRegisters: 100, MaxRegisterSize: 100 << 20, MaxRegistersCapacity: 1 << 30,
		MaxLogs: 100, MaxLogSize: 16 << 10, MaxEvents: 100, MaxEventKindSize: 100, MaxEventDataSize: 16 << 10,
		MaxXCalls: 100, MaxXCallFunctionSize: 100, MaxXCallParamsSize: 16 << 10,
		MaxStorageKeySize: 1 << 20, MaxStorageValueSize: 10 << 20,
		MaxBlobHandles: 100, MaxBlobChunkSize: 10 << 20, MaxMethodNameLength: 256,
	}
}

// WithDefaults fills zero fields.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ v, d *uint64 }{
		{&l.MaxStackSize, &d.MaxStackSize}, {&l.MaxRegisters, &d.MaxRegisters},
		{&l.MaxRegisterSize, &d.MaxRegisterSize}, {&l.MaxRegistersCapacity, &d.MaxRegistersCapacity},
		{&l.MaxLogs, &d.MaxLogs}, {&l.MaxLogSize, &d.MaxLogSize}, {&l.MaxEvents, &d.MaxEvents},
		{&l.MaxEventKindSize, &d.MaxEventKindSize}, {&l.MaxEventDataSize, &d.MaxEventDataSize},
		{&l.MaxXCalls, &d.MaxXCalls}, {&l.MaxXCallFunctionSize, &d.MaxXCallFunctionSize},
		{&l.MaxXCallParamsSize, &d.MaxXCallParamsSize}, {&l.MaxStorageKeySize, &d.MaxStorageKeySize},
		{&l.MaxStorageValueSize, &d.MaxStorageValueSize}, {&l.MaxBlobHandles, &d.MaxBlobHandles},
		{&l.MaxBlobChunkSize, &d.MaxBlobChunkSize}, {&l.MaxMethodNameLength, &d.MaxMethodNameLength},
	} {
		if *f.v == 0 {
			*f.v = *f.d
		}
	}
	return l
}
