package runtime

import (
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

// unknownMember is what a oneof without a member we know means; the caller adds both versions.
func unknownMember(what string) error {
	return errkind.Unsupported.Errorf("%s of a form this build does not know", what)
}

func id32(what string, b []byte) ([32]byte, error) {
	if len(b) != 32 {
		return [32]byte{}, errkind.Invalid.Errorf("%s has %d bytes, it must have 32", what, len(b))
	}
	return [32]byte(b), nil
}

func keyFromProto(scope runtimev1.Scope, key []byte) (Key, error) {
	if scope != runtimev1.Scope_SCOPE_STATE && scope != runtimev1.Scope_SCOPE_PRIVATE {
		return Key{}, errkind.Invalid.Errorf("row key of unknown scope %d", scope)
	}
	k, err := id32("row key", key)
	return Key{Scope: Scope(scope), K: k}, err
}

func keysToProto(keys []Key) []*runtimev1.RowKey {
	if len(keys) == 0 {
		return nil
	}
	block := make([]runtimev1.RowKey, len(keys))
	out := make([]*runtimev1.RowKey, len(keys))
	for i := range keys {
		block[i].Scope, block[i].Key = runtimev1.Scope(keys[i].Scope), keys[i].K[:]
		out[i] = &block[i]
	}
	return out
}

func keysFromProto(ps []*runtimev1.RowKey) ([]Key, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	out := make([]Key, len(ps))
	for i, p := range ps {
		var err error
		if out[i], err = keyFromProto(p.GetScope(), p.GetKey()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func executeToProto(e *Execute, p *packer) *runtimev1.Execute {
	out := &runtimev1.Execute{
		ModuleId: e.Module[:], ContextId: e.Context[:], Executor: e.Executor[:], Method: e.Method, Input: p.data(e.Input),
		Kind:  runtimev1.Kind(e.Kind),
		State: &runtimev1.State{Epoch: e.State.Epoch, Version: e.State.Version, Ahead: p.rows(fitting(e.State.Ahead))},
		Budget: &runtimev1.Budget{Fuel: e.Budget.Fuel, DeadlineMs: e.Budget.DeadlineMillis,
			MemoryPages: e.Budget.MemoryPages, Limits: limitsToProto(e.Budget.Limits)},
		TimeFloorNs: e.TimeFloor, HasPrivate: e.HasPrivate, Detail: runtimev1.WriteDetail(e.Detail),
	}
	for i := range e.State.Steps {
		s := &e.State.Steps[i]
		out.State.Steps = append(out.State.Steps, &runtimev1.StateStep{To: s.To, AcceptExec: s.AcceptExec,
			Rows: p.rows(s.Rows), Forget: keysToProto(s.Forget), Reset_: s.Reset})
	}
	for _, g := range e.Grants {
		out.Grants = append(out.Grants, &runtimev1.Grant{Namespace: g.Namespace, Functions: g.Functions, Impure: g.Impure})
	}
	return out
}

func executeFromProto(id uint64, p *runtimev1.Execute, u *unpacker) (*Execute, error) {
	e := &Execute{ID: id, Method: p.GetMethod(), Kind: CallKind(p.GetKind()), TimeFloor: p.GetTimeFloorNs(),
		HasPrivate: p.GetHasPrivate(), Detail: WriteDetail(p.GetDetail())}
	var err error
	if e.Module, err = id32("module id", p.GetModuleId()); err != nil {
		return nil, err
	}
	if e.Context, err = id32("context id", p.GetContextId()); err != nil {
		return nil, err
	}
	if e.Executor, err = id32("executor", p.GetExecutor()); err != nil {
		return nil, err
	}
	if e.Input, err = u.data(p.GetInput()); err != nil {
		return nil, err
	}
	b := p.GetBudget()
	e.Budget = Budget{Fuel: b.GetFuel(), DeadlineMillis: b.GetDeadlineMs(), MemoryPages: b.GetMemoryPages(),
		Limits: limitsFromProto(b.GetLimits())}
	for _, g := range p.GetGrants() {
		e.Grants = append(e.Grants, Grant{Namespace: g.GetNamespace(), Functions: g.GetFunctions(), Impure: g.GetImpure()})
	}
	e.State.Epoch, e.State.Version = p.GetState().GetEpoch(), p.GetState().GetVersion()
	if e.State.Ahead, err = u.rows(nil, p.GetState().GetAhead(), plainRows); err != nil {
		return nil, err
	}
	if steps := p.GetState().GetSteps(); len(steps) > 0 {
		e.State.Steps = make([]Step, len(steps))
		for i, s := range steps {
			x := &e.State.Steps[i]
			x.To, x.AcceptExec, x.Reset = s.GetTo(), s.GetAcceptExec(), s.GetReset_()
			if x.Rows, err = u.rows(nil, s.GetRows(), stepRows); err != nil {
				return nil, err
			}
			if x.Forget, err = keysFromProto(s.GetForget()); err != nil {
				return nil, err
			}
		}
	}
	return e, nil
}

func limitsToProto(l Limits) *runtimev1.Limits {
	if l == (Limits{}) {
		return nil
	}
	return &runtimev1.Limits{
		MaxStackSize: l.MaxStackSize, MaxRegisters: l.MaxRegisters, MaxRegisterSize: l.MaxRegisterSize,
		MaxRegistersCapacity: l.MaxRegistersCapacity, MaxLogs: l.MaxLogs, MaxLogSize: l.MaxLogSize,
		MaxEvents: l.MaxEvents, MaxEventKindSize: l.MaxEventKindSize, MaxEventDataSize: l.MaxEventDataSize,
		MaxXcalls: l.MaxXCalls, MaxXcallFunctionSize: l.MaxXCallFunctionSize, MaxXcallParamsSize: l.MaxXCallParamsSize,
		MaxStorageKeySize: l.MaxStorageKeySize, MaxStorageValueSize: l.MaxStorageValueSize,
		MaxBlobHandles: l.MaxBlobHandles, MaxBlobChunkSize: l.MaxBlobChunkSize, MaxMethodNameLength: l.MaxMethodNameLength,
	}
}

func limitsFromProto(p *runtimev1.Limits) Limits {
	return Limits{
		MaxStackSize: p.GetMaxStackSize(), MaxRegisters: p.GetMaxRegisters(), MaxRegisterSize: p.GetMaxRegisterSize(),
		MaxRegistersCapacity: p.GetMaxRegistersCapacity(), MaxLogs: p.GetMaxLogs(), MaxLogSize: p.GetMaxLogSize(),
		MaxEvents: p.GetMaxEvents(), MaxEventKindSize: p.GetMaxEventKindSize(), MaxEventDataSize: p.GetMaxEventDataSize(),
		MaxXCalls: p.GetMaxXcalls(), MaxXCallFunctionSize: p.GetMaxXcallFunctionSize(),
		MaxXCallParamsSize: p.GetMaxXcallParamsSize(), MaxStorageKeySize: p.GetMaxStorageKeySize(),
		MaxStorageValueSize: p.GetMaxStorageValueSize(), MaxBlobHandles: p.GetMaxBlobHandles(),
		MaxBlobChunkSize: p.GetMaxBlobChunkSize(), MaxMethodNameLength: p.GetMaxMethodNameLength(),
	}
}

// resultToProto packs a result but for its writes.
func resultToProto(r *Result, p *packer) *runtimev1.Result {
	// Rows read are a hint for the next run: the first ones are worth the most.
	out := &runtimev1.Result{Logs: r.Logs, Read: keysToProto(r.Read[:min(len(r.Read), MaxReadKeys)])}
	switch {
	case r.Fault != nil:
		out.Outcome = &runtimev1.Result_Fault{Fault: faultToProto(r.Fault)}
	case r.AppError != nil:
		out.Outcome = &runtimev1.Result_AppError{AppError: p.data(r.AppError)}
	case r.Value != nil:
		out.Outcome = &runtimev1.Result_Value{Value: p.data(r.Value)}
	default:
		out.Outcome = &runtimev1.Result_None{None: true}
	}
	for i := range r.Events {
		ev := &r.Events[i]
		x := &runtimev1.Event{Kind: ev.Kind, Data: ev.Data}
		if ev.Handler != nil {
			x.Handler, x.HasHandler = *ev.Handler, true
		}
		out.Events = append(out.Events, x)
	}
	for i := range r.XCalls {
		x := &r.XCalls[i]
		out.Xcalls = append(out.Xcalls, &runtimev1.XCall{ContextId: x.Context[:], Function: x.Function, Params: x.Params})
	}
	if r.RootHash != nil {
		out.RootHash = r.RootHash[:]
	}
	if r.Artifact != nil {
		out.Artifact = p.data(r.Artifact)
	}
	for i := range r.Blobs {
		out.Blobs = append(out.Blobs, &runtimev1.BlobRef{BlobId: r.Blobs[i].ID[:], Size: r.Blobs[i].Size})
	}
	out.Usage = usageToProto(&r.Usage)
	return out
}

func usageToProto(u *Usage) *runtimev1.Usage {
	return &runtimev1.Usage{Fuel: u.Fuel, WallUs: u.WallMicros, HostCalls: u.HostCalls, Reads: u.Reads, Misses: u.Misses,
		RoundTrips: u.RoundTrips, PeakPages: u.PeakPages, ClockOrRandom: u.ClockRandom, Effects: u.Effects,
		TimeNs: u.Time}
}

func usageFromProto(p *runtimev1.Usage) Usage {
	return Usage{Fuel: p.GetFuel(), WallMicros: p.GetWallUs(), HostCalls: p.GetHostCalls(), Reads: p.GetReads(),
		Misses: p.GetMisses(), RoundTrips: p.GetRoundTrips(), PeakPages: p.GetPeakPages(), ClockRandom: p.GetClockOrRandom(),
		Effects: p.GetEffects(), Time: p.GetTimeNs()}
}

// resultFromProto appends the result's own writes to those of the frames before it.
func resultFromProto(p *runtimev1.Result, writes []Row, u *unpacker) (*Result, error) {
	r := &Result{Logs: p.GetLogs()}
	var err error
	switch o := p.GetOutcome().(type) {
	case *runtimev1.Result_Value:
		r.Value, err = u.data(o.Value)
	case *runtimev1.Result_AppError:
		r.AppError, err = u.data(o.AppError)
	case *runtimev1.Result_Fault:
		r.Fault, err = faultFromProto(o.Fault)
	case *runtimev1.Result_None:
	default:
		err = unknownMember("result")
	}
	if err != nil {
		return nil, err
	}
	if len(p.GetEvents()) > 0 {
		r.Events = make([]Event, len(p.GetEvents()))
		for i, ev := range p.GetEvents() {
			r.Events[i] = Event{Kind: ev.GetKind(), Data: filled(ev.GetData())}
			if ev.GetHasHandler() {
				handler := ev.GetHandler()
				r.Events[i].Handler = &handler
			}
		}
	}
	for _, x := range p.GetXcalls() {
		to, err := id32("context of an xcall", x.GetContextId())
		if err != nil {
			return nil, err
		}
		r.XCalls = append(r.XCalls, XCall{Context: to, Function: x.GetFunction(), Params: filled(x.GetParams())})
	}
	if len(p.GetRootHash()) > 0 {
		root, err := id32("root hash", p.GetRootHash())
		if err != nil {
			return nil, err
		}
		hash := domain.Hash(root)
		r.RootHash = &hash
	}
	if p.GetArtifact() != nil {
		if r.Artifact, err = u.data(p.GetArtifact()); err != nil {
			return nil, err
		}
	}
	if r.Writes, err = u.rows(writes, p.GetWrites(), writtenRows); err != nil {
		return nil, err
	}
	for _, b := range p.GetBlobs() {
		id, err := id32("blob id", b.GetBlobId())
		if err != nil {
			return nil, err
		}
		r.Blobs = append(r.Blobs, BlobRef{ID: id, Size: b.GetSize()})
	}
	if len(p.GetRead()) > MaxReadKeys {
		return nil, errkind.TooLarge.Errorf("result names %d rows read, the limit is %d", len(p.GetRead()), MaxReadKeys)
	}
	if r.Read, err = keysFromProto(p.GetRead()); err != nil {
		return nil, err
	}
	r.Usage = usageFromProto(p.GetUsage())
	return r, nil
}

// maxFaultText bounds the text of a fault on the wire: a guest may panic with all its memory.
const maxFaultText = 256 << 10

func faultToProto(f *Fault) *runtimev1.GuestFault {
	text := f.Text
	if len(text) > maxFaultText {
		text = text[:maxFaultText]
	}
	return &runtimev1.GuestFault{Kind: uint32(f.Kind), Text: validUTF8(text)}
}

func faultFromProto(p *runtimev1.GuestFault) (*Fault, error) {
	if p.GetKind() == 0 || p.GetKind() > uint32(FaultRefused) {
		return nil, unknownMember("fault")
	}
	return &Fault{Kind: FaultKind(p.GetKind()), Text: p.GetText()}, nil
}

func moduleToProto(m *ModuleInfo) *runtimev1.ModuleInfo {
	out := &runtimev1.ModuleInfo{ModuleId: m.ID[:], MemoryMinPages: m.MemoryMinPages, MemoryMaxPages: m.MemoryMaxPages,
		RegistersMerge: m.RegistersMerge, PrepareUs: m.PrepareMicros, FromCache: m.FromCache}
	for _, i := range m.Imports {
		out.Imports = append(out.Imports, &runtimev1.Import{Module: i.Module, Name: i.Name, Kind: i.Kind, Params: i.Params,
			Results: i.Results})
	}
	for _, x := range m.Exports {
		out.Exports = append(out.Exports, &runtimev1.Export{Name: x.Name, Kind: x.Kind, Params: x.Params, Results: x.Results})
	}
	return out
}

func moduleFromProto(p *runtimev1.ModuleInfo, want domain.Hash) (ModuleInfo, error) {
	id, err := id32("module id", p.GetModuleId())
	if err != nil {
		return ModuleInfo{}, err
	}
	if id != want {
		return ModuleInfo{}, errkind.Internal.Errorf("asked for module %s, got %s", want, domain.Hash(id))
	}
	m := ModuleInfo{ID: id, MemoryMinPages: p.GetMemoryMinPages(), MemoryMaxPages: p.GetMemoryMaxPages(),
		RegistersMerge: p.GetRegistersMerge(), PrepareMicros: p.GetPrepareUs(), FromCache: p.GetFromCache()}
	for _, i := range p.GetImports() {
		m.Imports = append(m.Imports, Import{Module: i.GetModule(), Name: i.GetName(), Kind: i.GetKind(),
			Params: i.GetParams(), Results: i.GetResults()})
	}
	for _, x := range p.GetExports() {
		m.Exports = append(m.Exports, Export{Name: x.GetName(), Kind: x.GetKind(), Params: x.GetParams(),
			Results: x.GetResults()})
	}
	return m, nil
}
