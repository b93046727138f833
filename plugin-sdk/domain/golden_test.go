package domain_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

const (
	primitives = "testdata/primitives.json"
	crypto     = "testdata/crypto.json"
)

// id is what the identifiers have in common.
type id interface {
	fmt.Stringer
	json.Unmarshaler
	MarshalText() ([]byte, error)
	UnmarshalText([]byte) error
}

func TestBase58(t *testing.T) {
	t.Parallel()
	type out struct {
		Base58        string `json:"base58"`
		ContextDebug  string `json:"context_id_debug"`
		GroupDebug    string `json:"context_group_id_debug"`
		ContextIDText string `json:"context_id"`
		ApplicationID string `json:"application_id"`
		BlobID        string `json:"blob_id"`
		PublicKey     string `json:"public_key"`
	}
	for _, c := range golden.Group[struct{ Bytes golden.Hex32 }, out](t, primitives, "base58") {
		raw := [32]byte(c.In.Bytes)
		for _, x := range []struct {
			value  any
			back   id
			expect string
		}{
			{domain.Hash(raw), new(domain.Hash), c.Out.Base58},
			{domain.ContextID(raw), new(domain.ContextID), c.Out.ContextIDText},
			{domain.ApplicationID(raw), new(domain.ApplicationID), c.Out.ApplicationID},
			{domain.BlobID(raw), new(domain.BlobID), c.Out.BlobID},
			{domain.PublicKey(raw), new(domain.PublicKey), c.Out.PublicKey},
		} {
			text, err := json.Marshal(x.value)
			require.NoError(t, err, c.Name)
			require.Equal(t, `"`+x.expect+`"`, string(text), c.Name)
			require.NoError(t, json.Unmarshal(text, x.back), c.Name)
			require.Equal(t, x.expect, x.back.String(), c.Name)
			require.NoError(t, x.back.UnmarshalText([]byte(x.expect)))
			require.Equal(t, x.expect, x.back.String(), c.Name)
		}
		require.Equal(t, c.Out.ContextDebug, domain.ContextID(raw).Debug(), c.Name)
		require.Equal(t, c.Out.GroupDebug, domain.GroupID(raw).Debug(), c.Name)
	}
}

func TestBase58Refusals(t *testing.T) {
	t.Parallel()
	type out struct {
		Bytes     *golden.Hex32 `json:"bytes"`
		Error     string        `json:"error"`
		JSONError string        `json:"json_error"`
	}
	for _, c := range golden.Group[struct{ Text string }, out](t, primitives, "base58_decode") {
		hash, err := domain.ParseHash(c.In.Text)
		_, contextErr := domain.ParseContextID(c.In.Text)
		quoted, quoteErr := json.Marshal(c.In.Text)
		require.NoError(t, quoteErr)
		var fromJSON domain.Hash
		jsonErr := json.Unmarshal(quoted, &fromJSON)
		if c.Out.Bytes != nil {
			require.NoError(t, err, c.Name)
			require.NoError(t, contextErr, c.Name)
			require.NoError(t, jsonErr, c.Name)
			require.Equal(t, domain.Hash(*c.Out.Bytes), hash, c.Name)
			require.Equal(t, hash, fromJSON, c.Name)
			continue
		}
		require.EqualError(t, err, c.Out.Error, c.Name)
		require.EqualError(t, contextErr, c.Out.Error, c.Name)
		require.EqualError(t, jsonErr, c.Out.JSONError, c.Name)
	}
	for notText, kind := range map[string]string{
		"1": "integer `1`", "1.5": "floating point `1.5`", "null": "null", "[1]": "sequence", "{}": "map",
		"true": "boolean `true`",
	} {
		var v domain.Hash
		require.EqualError(t, v.UnmarshalJSON([]byte(notText)), "invalid type: "+kind+", expected a base58 encoded hash")
	}
}

func TestAlias(t *testing.T) {
	t.Parallel()
	type out struct{ Display, JSON, Error string }
	for _, c := range golden.Group[struct{ Text string }, out](t, primitives, "alias") {
		alias, err := domain.ParseAlias(c.In.Text)
		if c.Out.Error != "" {
			require.EqualError(t, err, c.Out.Error, c.Name)
			continue
		}
		require.NoError(t, err, c.Name)
		text, err := json.Marshal(alias)
		require.NoError(t, err, c.Name)
		require.Equal(t, c.Out.JSON, string(text), c.Name)
		require.Equal(t, c.Out.Display, alias.String(), c.Name)
	}
	_, err := domain.ParseAlias("\xff")
	require.ErrorIs(t, err, domain.ErrAliasNotUTF8)
}

func TestApplicationIDs(t *testing.T) {
	t.Parallel()
	type id struct {
		ApplicationID golden.Hex32 `json:"application_id"`
		Source        string       `json:"normalised_source"`
		Base58        string       `json:"base58"`
	}
	type wasm struct {
		BlobID   golden.Hex32 `json:"blob_id"`
		Size     golden.Uint  `json:"size"`
		Metadata golden.Hex   `json:"metadata"`
	}
	for _, c := range golden.Group[wasm, id](t, primitives, "application_id_wasm") {
		got := domain.WASMApplicationID(
			domain.BlobID(c.In.BlobID), uint64(c.In.Size), c.Out.Source, c.In.Metadata)
		require.Equal(t, domain.ApplicationID(c.Out.ApplicationID), got, c.Name)
		require.Equal(t, c.Out.Base58, got.String(), c.Name)
	}
	type bundle struct {
		Package  string `json:"package"`
		SignerID string `json:"signer_id"`
	}
	for _, c := range golden.Group[bundle, id](t, primitives, "application_id_bundle") {
		got := domain.BundleApplicationID(c.In.Package, c.In.SignerID)
		require.Equal(t, domain.ApplicationID(c.Out.ApplicationID), got, c.Name)
	}
	type signer struct {
		SignerID string `json:"signer_id"`
	}
	type key struct {
		PublicKey golden.Hex32 `json:"public_key"`
	}
	for _, c := range golden.Group[key, signer](t, primitives, "signer_id") {
		require.Equal(t, c.Out.SignerID, domain.SignerID(domain.PublicKey(c.In.PublicKey)), c.Name)
	}
}

func TestAppKey(t *testing.T) {
	t.Parallel()
	type in struct {
		Text     *string `json:"text"`
		AppID    string  `json:"app_id"`
		SignerID string  `json:"signer_id"`
	}
	type out struct {
		AppID    string `json:"app_id"`
		SignerID string `json:"signer_id"`
		Display  string `json:"display"`
		JSON     string `json:"json"`
		Error    string `json:"error"`
	}
	for _, c := range golden.Group[in, out](t, primitives, "app_key_parse") {
		var key domain.AppKey
		var err error
		if c.In.Text != nil {
			key, err = domain.ParseAppKey(*c.In.Text)
		} else {
			key, err = domain.NewAppKey(c.In.AppID, c.In.SignerID)
		}
		if c.Out.Error != "" {
			require.EqualError(t, err, c.Out.Error, c.Name)
			continue
		}
		require.NoError(t, err, c.Name)
		require.Equal(t, domain.AppKey{AppID: c.Out.AppID, SignerID: c.Out.SignerID}, key, c.Name)
		require.Equal(t, c.Out.Display, key.String(), c.Name)
		text, err := json.Marshal(key)
		require.NoError(t, err)
		require.Equal(t, c.Out.JSON, string(text), c.Name)
	}
}

func TestEnums(t *testing.T) {
	t.Parallel()
	type in struct {
		JSON string `json:"json"`
	}
	for _, c := range golden.Group[in, struct{ Bit uint8 }](t, primitives, "context_capability") {
		var capability domain.ContextCapability
		requireJSONRoundTrip(t, c.In.JSON, &capability)
		require.Equal(t, domain.ContextCapability(c.Out.Bit), capability, c.Name)
	}
	for _, c := range golden.Group[in, struct{ Borsh golden.Hex }](t, primitives, "group_member_role") {
		var role domain.MemberRole
		requireJSONRoundTrip(t, c.In.JSON, &role)
		require.Equal(t, domain.MemberRole(c.Out.Borsh[0]), role, c.Name)
	}
	for _, c := range golden.Group[in, struct{ Borsh golden.Hex }](t, primitives, "upgrade_policy") {
		var policy domain.UpgradePolicy
		requireJSONRoundTrip(t, c.In.JSON, &policy)
		require.Equal(t, domain.UpgradeMode(c.Out.Borsh[0]), policy.Mode, c.Name)
	}
	var visibility domain.VisibilityMode
	requireJSONRoundTrip(t, `"Restricted"`, &visibility)
	require.Equal(t, domain.VisibilityRestricted, visibility)
}

func requireJSONRoundTrip(t *testing.T, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into))
	back, err := json.Marshal(into)
	require.NoError(t, err)
	require.Equal(t, text, string(back))
}

func TestEnumRefusals(t *testing.T) {
	t.Parallel()
	var role domain.MemberRole
	require.EqualError(t, json.Unmarshal([]byte(`"Owner"`), &role),
		"unknown variant `Owner`, expected one of `Admin`, `Member`, `ReadOnly`")
	var policy domain.UpgradePolicy
	for _, bad := range []string{
		`"Coordinated"`, `"Never"`, `1`, `{}`, `{"Coordinated":{},"Automatic":{}}`, `{"Automatic":null}`,
		`{"Coordinated":{"deadline":{"secs":1,"nanos":1000000000}}}`, `{"Coordinated":{"deadline":{"secs":-1,"nanos":0}}}`,
	} {
		require.Error(t, json.Unmarshal([]byte(bad), &policy), bad)
	}
	for _, bad := range []any{domain.MemberRole(3), domain.VisibilityMode(2), domain.ContextCapability(3), domain.UpgradePolicy{Mode: 3}} {
		_, err := json.Marshal(bad)
		require.Error(t, err, "%T", bad)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	type secret struct {
		Secret  golden.Hex32 `json:"secret_key"`
		Message golden.Hex   `json:"message"`
	}
	type public struct {
		PublicKey golden.Hex32 `json:"public_key"`
		Signature golden.Hex   `json:"signature"`
		Base58    string       `json:"base58"`
	}
	for _, c := range golden.Group[secret, public](t, primitives, "private_to_public") {
		key := domain.PrivateKey(c.In.Secret).Public()
		require.Equal(t, domain.PublicKey(c.Out.PublicKey), key, c.Name)
		require.Equal(t, c.Out.Base58, key.String(), c.Name)
	}
	for _, c := range golden.Group[secret, public](t, crypto, "sign") {
		key := domain.PrivateKey(c.In.Secret)
		require.Equal(t, domain.PublicKey(c.Out.PublicKey), key.Public(), c.Name)
		require.Equal(t, domain.Signature(c.Out.Signature), key.Sign(c.In.Message), c.Name)
		signer := key.Signer()
		require.Equal(t, key.Public(), signer.Public(), c.Name)
		for range 2 {
			require.Equal(t, domain.Signature(c.Out.Signature), signer.Sign(c.In.Message), c.Name)
		}
		require.True(t, signer.Of(key), c.Name)
		key[31] ^= 1
		require.False(t, signer.Of(key), c.Name)
	}
	type signed struct {
		PublicKey golden.Hex32 `json:"public_key"`
		Message   golden.Hex   `json:"message"`
		Signature golden.Hex   `json:"signature"`
	}
	for _, c := range golden.Group[signed, struct{ Valid bool }](t, crypto, "verify") {
		valid := domain.PublicKey(c.In.PublicKey).Verify(c.In.Message, domain.Signature(c.In.Signature))
		require.Equal(t, c.Out.Valid, valid, c.Name)
	}
}

func TestPrivateKeyDoesNotPrint(t *testing.T) {
	t.Parallel()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		require.Equal(t, "PrivateKey(redacted)", fmt.Sprintf(verb, key), verb)
		require.NotContains(t, fmt.Sprintf(verb, struct{ Key *domain.PrivateKey }{&key}), fmt.Sprintf("%x", key[:4]), verb)
	}
	_, err = json.Marshal(key)
	require.Error(t, err)

	signer := key.Signer()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		require.Equal(t, "PrivateKey(redacted)", fmt.Sprintf(verb, signer), verb)
		require.Equal(t, "PrivateKey(redacted)", fmt.Sprintf(verb, *signer), verb)
	}
	_, err = json.Marshal(signer)
	require.Error(t, err)
}

func BenchmarkSign(b *testing.B) {
	key, err := domain.NewPrivateKey()
	require.NoError(b, err)
	message := make([]byte, 100)
	b.Run("key", func(b *testing.B) {
		for b.Loop() {
			key.Sign(message)
		}
	})
	b.Run("signer", func(b *testing.B) {
		signer := key.Signer()
		for b.Loop() {
			signer.Sign(message)
		}
	})
}

func TestGroupID(t *testing.T) {
	t.Parallel()
	const text = "AAbbccddeeff00112233445566778899aabbccddeeff00112233445566778899"
	id, err := domain.ParseGroupID(text)
	require.NoError(t, err)
	require.Equal(t, "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899", id.String())
	for bad, want := range map[string]error{
		text[:62]: domain.ErrInvalidHexLength, text + "00": domain.ErrInvalidHexLength,
		text[:63]: domain.ErrInvalidHex, "zz": domain.ErrInvalidHex, "": domain.ErrInvalidHexLength,
	} {
		_, err := domain.ParseGroupID(bad)
		require.ErrorIs(t, err, want, bad)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi")
	f.Add("11111111111111111111111111111111")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := domain.ParseHash(text)
		if err == nil {
			require.Equal(t, text, id.String(), "base58 has one form for each value")
		}
		var fromJSON domain.Hash
		quoted, quoteErr := json.Marshal(text)
		require.NoError(t, quoteErr)
		require.Equal(t, err == nil, json.Unmarshal(quoted, &fromJSON) == nil)
		require.Equal(t, id, fromJSON)
	})
}

func FuzzUpgradePolicy(f *testing.F) {
	f.Add(`{"Coordinated":{"deadline":{"secs":3600,"nanos":0}}}`)
	f.Add(`"Automatic"`)
	f.Fuzz(func(t *testing.T, text string) {
		var policy domain.UpgradePolicy
		if json.Unmarshal([]byte(text), &policy) != nil {
			return
		}
		out, err := json.Marshal(policy)
		require.NoError(t, err)
		var back domain.UpgradePolicy
		require.NoError(t, json.Unmarshal(out, &back))
		require.Equal(t, policy, back)
	})
}
