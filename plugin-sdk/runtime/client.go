package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

var _ Plugin = (*client)(nil)

// client is the host's end of a runtime plugin.
type client struct {
	base.Plugin
	link base.Link
	rpc  runtimev1.RuntimeServiceClient
}

// NewClient makes the host's end of a runtime plugin.
func NewClient(l base.Link) Plugin {
	return &client{Plugin: base.NewClient(l), link: l, rpc: runtimev1.NewRuntimeServiceClient(l.Conn)}
}

// maxEngineTexts bounds the capabilities of an engine and the length of its texts.
const maxEngineTexts = 256

func (c *client) Engine(ctx context.Context) (Engine, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Info(call, &runtimev1.InfoRequest{})
	if err != nil {
		return Engine{}, c.link.Err(ctx, err)
	}
	if len(r.GetCapabilities()) > maxEngineTexts || len(r.GetEngine()) > maxEngineTexts ||
		len(r.GetEngineVersion()) > maxEngineTexts || r.GetMaxLanes() > 1<<16 {
		return Engine{}, errkind.TooLarge.Errorf("%s: engine texts, capabilities or lanes over their limits", c.link.Name)
	}
	return Engine{Name: r.GetEngine(), Version: r.GetEngineVersion(), MaxLanes: int(r.GetMaxLanes()),
		Capabilities: r.GetCapabilities()}, nil
}

func (c *client) Inspect(ctx context.Context, module domain.Hash) (ModuleInfo, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Inspect(call, &runtimev1.InspectRequest{ModuleId: module[:]})
	if err != nil {
		return ModuleInfo{}, c.link.Err(ctx, err)
	}
	return c.module(r.GetModule(), module)
}

func (c *client) module(p *runtimev1.ModuleInfo, want domain.Hash) (ModuleInfo, error) {
	m, err := moduleFromProto(p, want)
	if err != nil {
		return ModuleInfo{}, fmt.Errorf("read module info of %s: %w", c.link.Name, err)
	}
	return m, nil
}

func (c *client) Prepare(ctx context.Context, module domain.Hash, maxSize uint64, wasm io.Reader) (ModuleInfo, error) {
	size := knownSize(wasm)
	if size > maxSize {
		return ModuleInfo{}, moduleTooLarge(size, maxSize)
	}
	call, cancel := c.link.Join(ctx)
	defer cancel() // also tells a plugin that got no end of the module that none comes
	stream, err := c.rpc.Prepare(call)
	if err != nil {
		return ModuleInfo{}, c.link.Err(ctx, err)
	}
	err = stream.Send(&runtimev1.PrepareRequest{Part: &runtimev1.PrepareRequest_Header{
		Header: &runtimev1.PrepareHeader{ModuleId: module[:], Size: size, MaxModuleSize: maxSize}}})
	sent := uint64(0)
	for err == nil {
		// A fresh chunk each time: gRPC may still be reading the one before.
		chunk := make([]byte, SpillPart)
		n, readErr := io.ReadFull(wasm, chunk)
		if sent += uint64(n); sent > maxSize {
			return ModuleInfo{}, moduleTooLarge(sent, maxSize)
		}
		if n > 0 {
			err = stream.Send(&runtimev1.PrepareRequest{Part: &runtimev1.PrepareRequest_Chunk{Chunk: chunk[:n]}})
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			return ModuleInfo{}, fmt.Errorf("read module %s: %w", module, readErr)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the plugin has answered already
		return ModuleInfo{}, c.link.Err(ctx, err)
	}
	r, err := stream.CloseAndRecv()
	if err != nil {
		return ModuleInfo{}, c.prepareErr(ctx, err)
	}
	return c.module(r.GetModule(), module)
}

// prepareErr re-creates the fault that a refused module comes with.
func (c *client) prepareErr(ctx context.Context, err error) error {
	out := c.link.Err(ctx, err)
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		if p, ok := d.(*runtimev1.GuestFault); ok {
			if f, ferr := faultFromProto(p); ferr == nil {
				return errkind.Of(out).Wrap(&refusal{fault: f, text: out.Error()})
			}
		}
	}
	return out
}

// refusal is an error with the plugin's text that is also its fault.
type refusal struct {
	fault *Fault
	text  string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.fault }

func moduleTooLarge(size, limit uint64) error {
	f := &Fault{Kind: FaultModuleSize,
		Text: fmt.Sprintf("module size limit (max_module_size) exceeded: %d bytes > %d bytes limit", size, limit)}
	return f.AsError()
}

// knownSize is the number of bytes r has, 0 if it does not say.
func knownSize(r io.Reader) uint64 {
	if l, ok := r.(interface{ Len() int }); ok {
		return uint64(l.Len())
	}
	return 0
}

// forgetPart is how many ids one Forget carries.
const forgetPart = 10_000

func (c *client) Forget(ctx context.Context, modules []domain.Hash, contexts []domain.ContextID) error {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	for len(modules)+len(contexts) > 0 {
		r := &runtimev1.ForgetRequest{}
		for range min(len(modules), forgetPart) {
			id := modules[0]
			r.ModuleIds, modules = append(r.ModuleIds, id[:]), modules[1:]
		}
		for range min(len(contexts), forgetPart) {
			id := contexts[0]
			r.ContextIds, contexts = append(r.ContextIds, id[:]), contexts[1:]
		}
		if _, err := c.rpc.Forget(call, r); err != nil {
			return c.link.Err(ctx, err)
		}
	}
	return nil
}
