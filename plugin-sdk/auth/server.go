package auth

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	authv1 "github.com/calimero-go/core/plugin-sdk/proto/auth/v1"
)

// server is the plugin's end. Requests are checked before the plugin sees them.
type server struct {
	authv1.UnimplementedAuthServiceServer
	auth Auth
}

// Register adds p's services to s.
func Register(s grpc.ServiceRegistrar, p Plugin) *base.Server {
	authv1.RegisterAuthServiceServer(s, &server{auth: p})
	return base.Register(s, p)
}

func (s *server) Providers(ctx context.Context, _ *authv1.ProvidersRequest) (*authv1.ProvidersResponse, error) {
	list, err := s.auth.Providers(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	r := &authv1.ProvidersResponse{}
	for _, p := range list {
		r.Providers = append(r.Providers, &authv1.Provider{Name: p.Name, Type: p.Type, Description: p.Description,
			Configured: p.Configured, Config: p.Config})
	}
	return r, nil
}

func (s *server) Challenge(ctx context.Context, _ *authv1.ChallengeRequest) (*authv1.ChallengeResponse, error) {
	c, err := s.auth.Challenge(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.ChallengeResponse{Challenge: c.Token, Nonce: c.Nonce[:]}, nil
}

func pair(t Tokens, err error) (*authv1.TokenPair, error) {
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.TokenPair{AccessToken: t.Access, RefreshToken: t.Refresh}, nil
}

func (s *server) Token(ctx context.Context, p *authv1.TokenRequest) (*authv1.TokenPair, error) {
	r := TokenRequest{Method: p.GetMethod(), PublicKey: p.GetPublicKey(), ClientName: p.GetClientName(),
		ProviderData: p.GetProviderData(), Loopback: p.GetLoopback(), BootstrapCode: p.GetBootstrapCode()}
	if err := r.Check(); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return pair(s.auth.Token(ctx, r))
}

func (s *server) Refresh(ctx context.Context, p *authv1.RefreshRequest) (*authv1.TokenPair, error) {
	r := RefreshRequest{Tokens: Tokens{Access: p.GetAccessToken(), Refresh: p.GetRefreshToken()}, Host: p.GetHost()}
	if err := r.Check(); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return pair(s.auth.Refresh(ctx, r))
}

func (s *server) Verify(ctx context.Context, p *authv1.VerifyRequest) (*authv1.VerifyResponse, error) {
	if err := CheckToken(p.GetToken()); err != nil {
		return nil, errkind.ToStatus(err)
	}
	if err := CheckText("host", p.GetHost()); err != nil {
		return nil, errkind.ToStatus(err)
	}
	g, err := s.auth.Verify(ctx, p.GetToken(), p.GetHost())
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.VerifyResponse{KeyId: g.KeyID, RootKeyId: g.RootKeyID, PublicKey: g.PublicKey,
		Permissions: g.Permissions, ExpiresMs: millis(g.Expires), Sequence: g.Sequence}, nil
}

func (s *server) Watch(_ *authv1.WatchRequest, stream authv1.AuthService_WatchServer) error {
	return errkind.ToStatus(s.auth.Watch(stream.Context(), func(e Event) error { return stream.Send(eventToProto(e)) }))
}

func (s *server) ListKeys(ctx context.Context, _ *authv1.ListKeysRequest) (*authv1.ListKeysResponse, error) {
	list, err := s.auth.Keys(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	r := &authv1.ListKeysResponse{}
	for _, k := range list {
		r.Keys = append(r.Keys, keyToProto(k))
	}
	return r, nil
}

func (s *server) CreateKey(ctx context.Context, p *authv1.CreateKeyRequest) (*authv1.CreateKeyResponse, error) {
	r := CreateKeyRequest{PublicKey: p.GetPublicKey(), Method: p.GetMethod(), ProviderData: p.GetProviderData(),
		NodeURL: p.GetNodeUrl(), Grantor: p.GetGrantor()}
	if err := r.Check(); err != nil {
		return nil, errkind.ToStatus(err)
	}
	id, created, err := s.auth.CreateKey(ctx, r)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.CreateKeyResponse{KeyId: id, Created: created}, nil
}

func revoked(t time.Time, err error) (*authv1.RevokedResponse, error) {
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.RevokedResponse{RevokedMs: millis(t)}, nil
}

func (s *server) DeleteKey(ctx context.Context, r *authv1.DeleteKeyRequest) (*authv1.RevokedResponse, error) {
	if err := CheckText("key id", r.GetKeyId()); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return revoked(s.auth.DeleteKey(ctx, r.GetKeyId()))
}

func (s *server) GetPermissions(ctx context.Context, r *authv1.GetPermissionsRequest) (*authv1.PermissionsResponse, error) {
	if err := CheckText("key id", r.GetKeyId()); err != nil {
		return nil, errkind.ToStatus(err)
	}
	list, err := s.auth.Permissions(ctx, r.GetKeyId())
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.PermissionsResponse{Permissions: list}, nil
}

func (s *server) UpdatePermissions(ctx context.Context, p *authv1.UpdatePermissionsRequest) (*authv1.PermissionsResponse, error) {
	r := UpdatePermissionsRequest{KeyID: p.GetKeyId(), Add: p.GetAdd(), Remove: p.GetRemove(), Grantor: p.GetGrantor()}
	if err := r.Check(); err != nil {
		return nil, errkind.ToStatus(err)
	}
	list, err := s.auth.UpdatePermissions(ctx, r)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &authv1.PermissionsResponse{Permissions: list}, nil
}

func (s *server) ListClientKeys(ctx context.Context, _ *authv1.ListClientKeysRequest) (*authv1.ListClientKeysResponse, error) {
	list, err := s.auth.ClientKeys(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	r := &authv1.ListClientKeysResponse{}
	for _, k := range list {
		r.Keys = append(r.Keys, clientKeyToProto(k))
	}
	return r, nil
}

func (s *server) CreateClientKey(ctx context.Context, p *authv1.CreateClientKeyRequest) (*authv1.TokenPair, error) {
	r := CreateClientKeyRequest{RootKeyID: p.GetRootKeyId(), ContextID: p.GetContextId(), Identity: p.GetIdentity(),
		Permissions: p.GetPermissions(), NodeURL: p.GetNodeUrl()}
	if err := r.Check(); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return pair(s.auth.CreateClientKey(ctx, r))
}

func (s *server) RevokeClientKey(ctx context.Context, r *authv1.RevokeClientKeyRequest) (*authv1.RevokedResponse, error) {
	if err := checkTexts(text{"root key id", r.GetRootKeyId()}, text{"client key id", r.GetClientKeyId()}); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return revoked(s.auth.RevokeClientKey(ctx, r.GetRootKeyId(), r.GetClientKeyId()))
}

func (s *server) Revoke(ctx context.Context, r *authv1.RevokeRequest) (*authv1.RevokedResponse, error) {
	if err := CheckText("key id", r.GetKeyId()); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return revoked(s.auth.Revoke(ctx, r.GetKeyId()))
}
