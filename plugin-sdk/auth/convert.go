package auth

import (
	"time"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	authv1 "github.com/calimero-go/core/plugin-sdk/proto/auth/v1"
)

// millis is the wire form of a time; 0 stands for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func keyToProto(k Key) *authv1.Key {
	return &authv1.Key{Id: k.ID, PublicKey: k.PublicKey, Method: k.Method, CreatedMs: millis(k.Created),
		RevokedMs: millis(k.Revoked), Permissions: k.Permissions}
}

func keyFromProto(p *authv1.Key) (Key, error) {
	k := Key{ID: p.GetId(), PublicKey: p.GetPublicKey(), Method: p.GetMethod(), Created: fromMillis(p.GetCreatedMs()),
		Revoked: fromMillis(p.GetRevokedMs()), Permissions: p.GetPermissions()}
	if err := checkTexts(text{"key id", k.ID}, text{"public key", k.PublicKey}, text{"method", k.Method}); err != nil {
		return Key{}, err
	}
	return k, checkPermissions(k.Permissions)
}

func clientKeyToProto(k ClientKey) *authv1.ClientKey {
	return &authv1.ClientKey{Id: k.ID, RootKeyId: k.RootKeyID, Name: k.Name, Permissions: k.Permissions,
		CreatedMs: millis(k.Created), RevokedMs: millis(k.Revoked), Valid: k.Valid}
}

func clientKeyFromProto(p *authv1.ClientKey) (ClientKey, error) {
	k := ClientKey{ID: p.GetId(), RootKeyID: p.GetRootKeyId(), Name: p.GetName(), Permissions: p.GetPermissions(),
		Created: fromMillis(p.GetCreatedMs()), Revoked: fromMillis(p.GetRevokedMs()), Valid: p.GetValid()}
	if err := checkTexts(text{"key id", k.ID}, text{"root key id", k.RootKeyID}); err != nil {
		return ClientKey{}, err
	}
	if len(k.Name) > 4*MaxText {
		return ClientKey{}, errkind.TooLarge.Errorf("key name has %d bytes, limit %d", len(k.Name), 4*MaxText)
	}
	return k, checkPermissions(k.Permissions)
}

var eventKinds = map[EventKind]authv1.WatchEvent_Kind{
	EventStarted: authv1.WatchEvent_KIND_STARTED,
	EventRevoked: authv1.WatchEvent_KIND_REVOKED,
	EventChanged: authv1.WatchEvent_KIND_CHANGED,
}

func eventToProto(e Event) *authv1.WatchEvent {
	return &authv1.WatchEvent{Sequence: e.Sequence, Kind: eventKinds[e.Kind], KeyId: e.KeyID}
}

// eventFromProto takes an unknown kind for a revocation: forgetting too much is safe.
func eventFromProto(p *authv1.WatchEvent) (Event, error) {
	e := Event{Sequence: p.GetSequence(), Kind: EventRevoked, KeyID: p.GetKeyId()}
	for kind, wire := range eventKinds {
		if wire == p.GetKind() {
			e.Kind = kind
		}
	}
	return e, CheckText("key id", e.KeyID)
}
