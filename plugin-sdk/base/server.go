package base

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

// Server is the plugin's end of what every plugin answers.
type Server struct {
	basev1.UnimplementedBaseServiceServer
	p Plugin

	mu         sync.Mutex
	configured bool

	closing  sync.Once
	closed   chan struct{}
	closeErr error
}

// Register adds p's base service to s.
func Register(s grpc.ServiceRegistrar, p Plugin) *Server {
	srv := &Server{p: p, closed: make(chan struct{})}
	basev1.RegisterBaseServiceServer(s, srv)
	return srv
}

// Shutdown closes the plugin, once for all callers; it returns what that close returned, or earlier when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closing.Do(func() {
		go func() {
			defer close(s.closed)
			s.closeErr = s.p.Close(ctx)
		}()
	})
	select {
	case <-s.closed:
		return s.closeErr
	case <-ctx.Done():
	}
	select {
	case <-s.closed: // both at once: the close's own answer says more
		return s.closeErr
	default:
		return errkind.Of(ctx.Err()).Errorf("close plugin: %w", ctx.Err())
	}
}

// Closed ends when the plugin has been closed.
func (s *Server) Closed() <-chan struct{} { return s.closed }

// Info answers the plugin's.
func (s *Server) Info(ctx context.Context, _ *basev1.InfoRequest) (*basev1.InfoResponse, error) {
	i, err := s.p.Info(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &basev1.InfoResponse{Kind: i.Kind, Name: i.Name, Version: i.Version, Protocol: i.Protocol,
		Capabilities: i.Capabilities}, nil
}

// Schema answers the plugin's.
func (s *Server) Schema(ctx context.Context, _ *basev1.SchemaRequest) (*basev1.SchemaResponse, error) {
	schema, err := s.p.Schema(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	p, err := schemaToProto(schema)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &basev1.SchemaResponse{Schema: p}, nil
}

// Configure decodes the value by the plugin's own schema; a second call is an error of kind Precondition.
func (s *Server) Configure(ctx context.Context, r *basev1.ConfigureRequest) (*basev1.ConfigureResponse, error) {
	s.mu.Lock()
	twice := s.configured
	s.configured = true
	s.mu.Unlock()
	if twice {
		return nil, errkind.ToStatus(errkind.Precondition.Errorf("configure plugin: it was configured before"))
	}
	schema, err := s.p.Schema(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	v, err := decodeValue(r.GetValue(), schema.ObjectType())
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	ds, err := s.p.Configure(ctx, Config{Value: v, DataDir: r.GetDataDir(), Node: r.GetNode()})
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &basev1.ConfigureResponse{Diagnostics: diag.ToProto(ds)}, nil
}

// Health answers a status with the error's kind when the plugin is not well.
func (s *Server) Health(ctx context.Context, _ *basev1.HealthRequest) (*basev1.HealthResponse, error) {
	if err := s.p.Health(ctx); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &basev1.HealthResponse{Ok: true}, nil
}

// Close closes the plugin; see Shutdown.
func (s *Server) Close(ctx context.Context, _ *basev1.CloseRequest) (*basev1.CloseResponse, error) {
	if err := s.Shutdown(ctx); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &basev1.CloseResponse{}, nil
}
