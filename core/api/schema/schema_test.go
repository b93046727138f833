package schema_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type vector struct {
	Name string
	In   struct {
		Type, JSON string
		Aliases    map[string]string
	}
	Out struct {
		JSON, Error string
		Validation  []string
		WSMessage   string          `json:"ws_message"`
		SSEData     string          `json:"sse_data"`
		Rows        [][]*string     `json:"rows"`
		Limits      json.RawMessage `json:"-"`
	}
}

func group(t *testing.T, name string) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/http.json")
	require.NoError(t, err)
	var file struct{ Groups map[string]json.RawMessage }
	require.NoError(t, json.Unmarshal(raw, &file))
	var all []vector
	require.NoError(t, json.Unmarshal(file.Groups[name], &all))
	require.NotEmpty(t, all)
	return all
}

var requests = map[string]func() schema.Request{
	"InstallApplicationRequest":                               func() schema.Request { return new(schema.InstallApplicationRequest) },
	"InstallDevApplicationRequest":                            func() schema.Request { return new(schema.InstallDevApplicationRequest) },
	"calimero_server_primitives::admin::CreateContextRequest": func() schema.Request { return new(schema.CreateContextRequest) },
	"DeleteContextApiRequest":                                 func() schema.Request { return new(schema.DeleteContextRequest) },
	"InviteToContextRequest":                                  func() schema.Request { return new(schema.InviteToContextRequest) },
	"InviteSpecializedNodeRequest":                            func() schema.Request { return new(schema.InviteSpecializedNodeRequest) },
	"calimero_server_primitives::admin::JoinContextRequest":   func() schema.Request { return new(schema.JoinContextRequest) },
	"UpdateContextApplicationRequest":                         func() schema.Request { return new(schema.UpdateContextApplicationRequest) },
	"CreateAliasRequest<ContextId>":                           func() schema.Request { return new(schema.CreateContextAliasRequest) },
	"CreateAliasRequest<PublicKey>":                           func() schema.Request { return new(schema.CreateIdentityAliasRequest) },
	"CreateAliasRequest<ApplicationId>":                       func() schema.Request { return new(schema.CreateApplicationAliasRequest) },
	"CreateGroupApiRequest":                                   func() schema.Request { return new(schema.CreateGroupRequest) },
	"DeleteGroupApiRequest":                                   func() schema.Request { return new(schema.GroupRequest) },
	"SyncGroupApiRequest":                                     func() schema.Request { return new(schema.GroupRequest) },
	"DetachContextFromGroupApiRequest":                        func() schema.Request { return new(schema.GroupRequest) },
	"RetryGroupUpgradeApiRequest":                             func() schema.Request { return new(schema.GroupRequest) },
	"UpdateGroupSettingsApiRequest":                           func() schema.Request { return new(schema.UpdateGroupSettingsRequest) },
	"AddGroupMembersApiRequest":                               func() schema.Request { return new(schema.AddGroupMembersRequest) },
	"RemoveGroupMembersApiRequest":                            func() schema.Request { return new(schema.RemoveGroupMembersRequest) },
	"UpdateMemberRoleApiRequest":                              func() schema.Request { return new(schema.UpdateMemberRoleRequest) },
	"SetGroupAliasApiRequest":                                 func() schema.Request { return new(schema.SetAliasRequest) },
	"SetMemberAliasApiRequest":                                func() schema.Request { return new(schema.SetAliasRequest) },
	"UpgradeGroupApiRequest":                                  func() schema.Request { return new(schema.UpgradeGroupRequest) },
	"RegisterGroupSigningKeyApiRequest":                       func() schema.Request { return new(schema.RegisterSigningKeyRequest) },
	"CreateGroupInvitationApiRequest":                         func() schema.Request { return new(schema.InviteToGroupRequest) },
	"JoinGroupApiRequest":                                     func() schema.Request { return new(schema.JoinGroupRequest) },
	"JoinGroupContextApiRequest":                              func() schema.Request { return new(schema.JoinGroupContextRequest) },
	"SetMemberCapabilitiesApiRequest":                         func() schema.Request { return new(schema.SetMemberCapabilitiesRequest) },
	"SetDefaultCapabilitiesApiRequest":                        func() schema.Request { return new(schema.SetDefaultCapabilitiesRequest) },
	"SetDefaultVisibilityApiRequest":                          func() schema.Request { return new(schema.SetDefaultVisibilityRequest) },
	"SetContextVisibilityApiRequest":                          func() schema.Request { return new(schema.SetContextVisibilityRequest) },
	"ManageContextAllowlistApiRequest":                        func() schema.Request { return new(schema.ManageAllowlistRequest) },
	"SetTeeAdmissionPolicyApiRequest":                         func() schema.Request { return new(schema.SetTeePolicyRequest) },
}

var responses = map[string]func() any{
	"InstallApplicationResponse":         func() any { return new(schema.Data[schema.ApplicationRef]) },
	"UninstallApplicationResponse":       func() any { return new(schema.Data[schema.ApplicationRef]) },
	"ListPackagesResponse":               func() any { return new(schema.Packages) },
	"ListVersionsResponse":               func() any { return new(schema.Versions) },
	"GetLatestVersionResponse":           func() any { return new(schema.LatestVersion) },
	"ListApplicationsResponse":           func() any { return new(schema.Data[schema.Applications]) },
	"GetApplicationResponse":             func() any { return new(schema.Data[schema.MaybeApplication]) },
	"CreateContextResponse":              func() any { return new(schema.Data[schema.CreatedContext]) },
	"DeleteContextResponse":              func() any { return new(schema.Data[schema.Deleted]) },
	"GetContextResponse":                 func() any { return new(schema.Data[schema.Context]) },
	"GetContextsResponse":                func() any { return new(schema.Data[schema.Contexts]) },
	"GetContextStorageResponse":          func() any { return new(schema.Data[schema.ContextStorage]) },
	"GetContextIdentitiesResponse":       func() any { return new(schema.Data[schema.Identities]) },
	"GenerateContextIdentityResponse":    func() any { return new(schema.Data[schema.NewIdentity]) },
	"LookupAliasResponse<ContextId>":     func() any { return new(schema.Data[schema.AliasTarget]) },
	"GetPeersCountResponse":              func() any { return new(schema.PeersCount) },
	"GetContextGroupApiResponse":         func() any { return new(schema.Data[*domain.GroupID]) },
	"CreateGroupApiResponse":             func() any { return new(schema.Data[schema.GroupRef]) },
	"DeleteGroupApiResponse":             func() any { return new(schema.Data[schema.Deleted]) },
	"GroupInfoApiResponse":               func() any { return new(schema.Data[schema.GroupInfo]) },
	"ListAllGroupsApiResponse":           func() any { return new(schema.Data[[]schema.Group]) },
	"ListGroupMembersApiResponse":        func() any { return new(schema.GroupMembers) },
	"ListGroupContextsApiResponse":       func() any { return new(schema.Data[[]schema.GroupContext]) },
	"UpgradeGroupApiResponse":            func() any { return new(schema.Data[schema.StartedUpgrade]) },
	"GetGroupUpgradeStatusApiResponse":   func() any { return new(schema.Data[*schema.GroupUpgrade]) },
	"RegisterGroupSigningKeyApiResponse": func() any { return new(schema.Data[schema.SigningKey]) },
	"SyncGroupApiResponse":               func() any { return new(schema.Data[schema.SyncedGroup]) },
	"CreateGroupInvitationApiResponse":   func() any { return new(schema.Data[schema.MadeInvitation]) },
	"JoinGroupApiResponse":               func() any { return new(schema.Data[schema.JoinedGroup]) },
	"JoinGroupContextApiResponse":        func() any { return new(schema.Data[schema.JoinedContext]) },
	"GetMemberCapabilitiesApiResponse":   func() any { return new(schema.Data[schema.Capabilities]) },
	"GetContextVisibilityApiResponse":    func() any { return new(schema.Data[schema.ContextVisibility]) },
	"GetContextAllowlistApiResponse":     func() any { return new(schema.Data[[]domain.PublicKey]) },
	"blob::BlobDeleteResponse":           func() any { return new(schema.BlobDeleted) },
	"blob::BlobListResponse":             func() any { return new(schema.Data[schema.Blobs]) },
	"blob::BlobInfoResponse":             func() any { return new(schema.Data[schema.BlobInfo]) },
}

func TestTypesGolden(t *testing.T) {
	t.Parallel()
	for _, v := range group(t, "json_types") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			src := []byte(v.In.JSON)
			switch v.In.Type {
			case "RpcReq":
				testRPC(t, v)
				return
			case "jsonrpc::ExecutionRequest":
				testExecution(t, v)
				return
			case "WsReq", "SseReq":
				testSubscription(t, v)
				return
			}
			if request, ok := requests[v.In.Type]; ok {
				r := request()
				err := schema.Decode(src, r)
				if v.Out.Error != "" {
					require.EqualError(t, err, v.Out.Error)
					return
				}
				require.NoError(t, err)
				requireJSON(t, v.Out.JSON, r)
				require.Equal(t, schema.Invalid(v.Out.Validation), schema.Invalid(r.Validate()))
				return
			}
			response, ok := responses[v.In.Type]
			require.True(t, ok, "no type for %s", v.In.Type)
			r := response()
			err := json.Unmarshal(src, r)
			if v.Out.Error != "" { // encoding/json adds no place
				text, _, _ := strings.Cut(v.Out.Error, " at line ")
				require.ErrorContains(t, err, text)
				return
			}
			require.NoError(t, err)
			requireJSON(t, v.Out.JSON, r)
		})
	}
}

func requireJSON(t *testing.T, want string, v any) {
	t.Helper()
	text, err := schema.Encode(v)
	require.NoError(t, err)
	require.Equal(t, want, string(text))
}

// testRPC: an error of method or params names no place here, as in the reference's server.
func testRPC(t *testing.T, v vector) {
	r, err := schema.DecodeRPC([]byte(v.In.JSON))
	want, place, _ := strings.Cut(v.Out.Error, " at line ")
	if err != nil {
		if want == "missing field `id`" || strings.HasPrefix(want, "EOF") {
			require.EqualError(t, err, v.Out.Error)
			return
		}
		require.EqualError(t, err, want+" at line "+place)
		return
	}
	e, err := r.ReadExecution()
	if v.Out.Error != "" {
		require.EqualError(t, err, want)
		return
	}
	require.NoError(t, err)
	require.Contains(t, v.Out.JSON, `"id":`+string(r.ID)+`,`)
	require.Contains(t, v.Out.JSON, `"argsJson":`+string(e.Args)+`,`)
	require.Contains(t, v.Out.JSON, `"contextId":"`+e.ContextID.String()+`","method":"`+e.Method+`"`)
	require.Contains(t, v.Out.JSON, `"executorPublicKey":"`+e.ExecutorPublicKey.String()+`"`)
}

func testExecution(t *testing.T, v vector) {
	r, err := schema.DecodeRPC([]byte(`{"jsonrpc":"2.0","id":1,"method":"execute","params":` + v.In.JSON + `}`))
	require.NoError(t, err)
	e, err := r.ReadExecution()
	require.NoError(t, err)
	require.Equal(t, schema.Invalid(v.Out.Validation), schema.Invalid(e.Validate()))
}

func testSubscription(t *testing.T, v vector) {
	src := []byte(v.In.JSON)
	var err error
	if v.In.Type == "WsReq" {
		_, err = schema.DecodeSocket(src)
	} else {
		_, err = schema.DecodeSSE(src)
	}
	if err == nil {
		var s schema.Subscription
		if s, err = schema.ReadSubscription(src); err == nil {
			require.Contains(t, v.Out.JSON, `"method":"`+s.Method+`"`)
			ids, err := schema.Encode(schema.ContextIDs{ContextIDs: s.Contexts})
			require.NoError(t, err)
			require.Contains(t, v.Out.JSON, `"params":`+string(ids))
		}
		v.Out.Error, _, _ = strings.Cut(v.Out.Error, " at line ")
	}
	if v.Out.Error == "" {
		require.NoError(t, err)
		return
	}
	require.EqualError(t, err, v.Out.Error)
}

func TestOutputsGolden(t *testing.T) {
	t.Parallel()
	for _, v := range group(t, "json_output") {
		if v.Name != "ListAliasesResponse" {
			requireJSON(t, v.Out.JSON, schema.Of[any](nil))
			continue
		}
		list := map[string]domain.PublicKey{}
		for name, target := range v.In.Aliases {
			raw, err := domain.ParseHex32(target)
			require.NoError(t, err)
			list[name] = raw
		}
		requireJSON(t, v.Out.JSON, schema.Of(list))
	}
}

func TestRPCResponsesGolden(t *testing.T) {
	t.Parallel()
	for _, v := range group(t, "jsonrpc_response") {
		var r schema.RPCResponse
		require.NoError(t, json.Unmarshal([]byte(v.Out.JSON), &r))
		if r.Error == nil && r.Result == nil {
			t.Fatalf("%s is no answer", v.Name)
		}
		text, err := r.Append(nil)
		require.NoError(t, err)
		require.Equal(t, v.Out.JSON, string(text), v.Name)
	}
	var c domain.ContextID
	for name, e := range map[string]*schema.RPCError{
		"parse_error": schema.ParseError("bad"), "internal_error": schema.OpaqueError(), "serde_error": schema.SerdeError("m"),
	} {
		for _, v := range group(t, "jsonrpc_response") {
			if v.Name == name {
				text, err := schema.Encode(e)
				require.NoError(t, err)
				require.Contains(t, v.Out.JSON, `"error":`+string(text))
			}
		}
	}
	requireJSON(t, `{"type":"Unauthorized","data":{"context_id":"11111111111111111111111111111111","public_key":"11111111111111111111111111111111"}}`,
		schema.RPCError{Type: "Unauthorized", Data: schema.UnauthorizedData{ContextID: c}})
}

func TestEventsGolden(t *testing.T) {
	t.Parallel()
	for _, v := range group(t, "node_event") {
		var m schema.StateMutation
		require.NoError(t, json.Unmarshal([]byte(v.Out.JSON), &m))
		requireJSON(t, v.Out.JSON, m)
		requireJSON(t, v.Out.WSMessage, schema.SocketResponse{Result: m})
		requireJSON(t, v.Out.SSEData, schema.ResultOf(m))
	}
	one := uint64(1)
	want := map[string]any{
		"ws/unsubscribe_result": schema.SocketResponse{Result: schema.ContextIDs{ContextIDs: []domain.ContextID{}}},
		"ws/parse_error":        schema.SocketResponse{Error: schema.ParseError("e")},
		"sse/result":            schema.ResultOf(schema.ContextIDs{ContextIDs: []domain.ContextID{}}),
		"sse/internal_error": struct {
			Error any `json:"error"`
		}{schema.OpaqueError()},
		"sse/handler_error": schema.Fault{Error: "Session not found"},
	}
	for prefix, name := range map[string]string{"ws/": "ws_response", "sse/": "sse_response"} {
		for _, v := range group(t, name) {
			if w, ok := want[prefix+v.Name]; ok {
				requireJSON(t, v.Out.JSON, w)
				delete(want, prefix+v.Name)
			}
		}
	}
	require.Empty(t, want)
	requireJSON(t, `{"id":1,"result":null}`, struct {
		ID     *uint64 `json:"id"`
		Result any     `json:"result"`
	}{&one, nil})
}

func TestLimitsGolden(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/http.json")
	require.NoError(t, err)
	var file struct {
		Groups struct {
			Constants []struct {
				Name string
				Out  map[string]json.RawMessage
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	for _, c := range file.Groups.Constants {
		if c.Name != "validation_limits" {
			continue
		}
		for name, want := range map[string]int{
			"MAX_METADATA_SIZE": schema.MaxMetadata, "MAX_INIT_PARAMS_SIZE": schema.MaxInitParams,
			"MAX_PACKAGE_NAME_LENGTH": schema.MaxPackage, "MAX_VERSION_LENGTH": schema.MaxVersion,
			"MAX_URL_LENGTH": schema.MaxURL, "MAX_PATH_LENGTH": schema.MaxPath,
			"MAX_METHOD_NAME_LENGTH": schema.MaxMethod, "MAX_ARGS_JSON_SIZE": schema.MaxArgs,
			"MAX_SUBSTITUTE_ALIASES": schema.MaxSubstitute, "MAX_CAPABILITIES_COUNT": schema.MaxCapabilities,
			"MAX_VALID_FOR_SECONDS": schema.MaxValidFor,
		} {
			require.JSONEq(t, string(c.Out[name]), string(must(json.Marshal(want))), name)
		}
		return
	}
	t.Fatal("no limits")
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestIntBytes(t *testing.T) {
	t.Parallel()
	requireJSON(t, `[]`, schema.IntBytes(nil))
	var b schema.IntBytes
	require.NoError(t, json.Unmarshal([]byte(`[0, 1 ,255]`), &b))
	require.Equal(t, schema.IntBytes{0, 1, 255}, b)
	require.ErrorContains(t, json.Unmarshal([]byte(`[256]`), &b), "expected u8")
	require.ErrorContains(t, json.Unmarshal([]byte(`"AA=="`), &b), "expected a sequence")
	var a schema.IntBytes32
	require.ErrorContains(t, json.Unmarshal([]byte(`[1]`), &a), "expected an array of length 32")
	err := schema.Decode([]byte(`{"capabilities":[["`+domain.PublicKey{}.String()+`"]],"signer_id":"x"}`), new(schema.CapabilitiesRequest))
	var e *jsonvalue.Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, "capabilities[0]", e.Path)
}

// FuzzRequests reads any text as each of the requests: it is refused, or what it says can be validated; an invitation that was
// read is read again from what it prints as.
func FuzzRequests(f *testing.F) {
	raw, err := os.ReadFile("testdata/http.json")
	require.NoError(f, err)
	var file struct{ Groups map[string]json.RawMessage }
	require.NoError(f, json.Unmarshal(raw, &file))
	var all []vector
	require.NoError(f, json.Unmarshal(file.Groups["json_types"], &all))
	for _, v := range all {
		f.Add([]byte(v.In.JSON))
	}
	zeros := "[" + strings.TrimSuffix(strings.Repeat("0,", 32), ",") + "]"
	f.Add([]byte(`{"invitation":{"invitation":{"inviter_identity":` + zeros + `,"group_id":` + zeros +
		`,"expiration_timestamp":1,"secret_salt":` + zeros + `},"inviter_signature":"00","group_alias":"a","blob_id":` + zeros + `,"source":"b"}}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, make := range requests {
			r := make()
			if schema.Decode(src, r) == nil {
				_ = schema.Invalid(r.Validate())
			}
		}
		for _, r := range []schema.Request{new(schema.CloseInvitationRequest), new(schema.ChooseGenesisRequest)} {
			if schema.Decode(src, r) == nil {
				_ = schema.Invalid(r.Validate())
			}
		}
		var join schema.JoinGroupRequest
		if schema.Decode(src, &join) != nil {
			return
		}
		out, err := json.Marshal(join)
		require.NoError(t, err)
		var again schema.JoinGroupRequest
		require.NoError(t, schema.Decode(out, &again), "%s", out)
		require.Equal(t, join, again)
	})
}
