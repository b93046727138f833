package auth

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// CheckText tells whether s may be a name, id, host, URL or public key: valid UTF-8 within MaxText. Plugins call this
// and the Check methods first, so that all of them hold the same bounds with the same errors.
func CheckText(what, s string) error {
	if len(s) > MaxText {
		return errkind.TooLarge.Errorf("%s has %d bytes, limit MaxText = %d", what, len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return errkind.Invalid.Errorf("%s is not valid UTF-8", what)
	}
	return nil
}

type text struct{ what, s string }

func checkTexts(texts ...text) error {
	for _, t := range texts {
		if err := CheckText(t.what, t.s); err != nil {
			return err
		}
	}
	return nil
}

func checkProviderData(data json.RawMessage) error {
	if len(data) > MaxProviderData {
		return errkind.TooLarge.Errorf("provider data has %d bytes, limit MaxProviderData = %d", len(data), MaxProviderData)
	}
	if !json.Valid(data) {
		return errkind.Invalid.Errorf("provider data is not JSON")
	}
	return nil
}

func checkPermissions(list []string) error {
	_, err := ParsePermissions(list)
	return err
}

// CheckToken tells whether s may be a token at all; if not, the error is of KindInvalidToken.
func CheckToken(s string) error {
	switch {
	case s == "":
		return KindInvalidToken.Errorf("Invalid token: it is empty")
	case len(s) > MaxToken:
		return KindInvalidToken.Errorf("Invalid token: it has %d bytes, the limit is %d", len(s), MaxToken)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return KindInvalidToken.Errorf("Invalid token: printable ASCII only")
		}
	}
	return nil
}

// Check tells whether r is within the bounds.
func (r TokenRequest) Check() error {
	if err := checkTexts(text{"auth_method", r.Method}, text{"public_key", r.PublicKey}, text{"client_name", r.ClientName},
		text{"bootstrap code", r.BootstrapCode}); err != nil {
		return err
	}
	return checkProviderData(r.ProviderData)
}

// Check tells whether r is within the bounds.
func (r RefreshRequest) Check() error {
	if err := CheckToken(r.Access); err != nil {
		return KindInvalidToken.Errorf("Invalid access token: %w", err)
	}
	if err := CheckToken(r.Refresh); err != nil {
		return KindInvalidToken.Errorf("Invalid refresh token: %w", err)
	}
	return CheckText("host", r.Host)
}

// Check tells whether r is within the bounds.
func (r CreateKeyRequest) Check() error {
	if err := checkTexts(text{"public_key", r.PublicKey}, text{"auth_method", r.Method},
		text{"target_node_url", r.NodeURL}); err != nil {
		return err
	}
	if err := checkPermissions(r.Grantor); err != nil {
		return err
	}
	return checkProviderData(r.ProviderData)
}

// Check tells whether r is within the bounds. Malformed permissions are left to the plugin, which knows whether the key
// exists.
func (r UpdatePermissionsRequest) Check() error {
	if err := CheckText("key id", r.KeyID); err != nil {
		return err
	}
	if err := checkList(r.Add); err != nil {
		return err
	}
	if err := checkList(r.Remove); err != nil {
		return err
	}
	return checkPermissions(r.Grantor)
}

// checkList bounds permissions without reading them.
func checkList(permissions []string) error {
	if len(permissions) > MaxPermissions {
		return errkind.TooLarge.Errorf("%d permissions, the limit is %d", len(permissions), MaxPermissions)
	}
	for _, p := range permissions {
		if err := CheckText("permission", p); err != nil {
			return err
		}
	}
	return nil
}

// Check tells whether r is within the bounds.
func (r CreateClientKeyRequest) Check() error {
	if err := checkTexts(text{"root key id", r.RootKeyID}, text{"context_id", r.ContextID},
		text{"context_identity", r.Identity}, text{"target_node_url", r.NodeURL}); err != nil {
		return err
	}
	return checkList(r.Permissions)
}
